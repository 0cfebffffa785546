"""The fast form: torch's own blockwise attention where it can do the job, else blocks of our own."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gated.core.ops._dropout import dropout as ops_dropout
from gated.core.ops._op import is_exporting, needs_plain, uncast
from gated.core.ops.softmax_attention.blocks import BlockAttention, Options, negligible, spans
from gated.core.ops.softmax_attention.forget import Decay, Forget, decay
from gated.core.ops.softmax_attention.reference import finish, reference, repeat_heads
from gated.core.ops.softmax_attention.visible import sight

_VECTOR = 16  # single-precision numbers in 512 bits; twice the 256 bits of older processors
_FEW_KEYS = 32


def chunk(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool,
    log_forget: Forget | None,
    output_gate: torch.Tensor | None,
    head_weight: torch.Tensor | None,
    clip: float | None,
    signed: bool,
    bias_factors: tuple[torch.Tensor, torch.Tensor] | None,
    window: int | None,
    key_mask: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """See :func:`gated.core.ops.softmax_attention`."""
    kernel = torch_can(
        q,
        causal=causal,
        log_forget=log_forget,
        clip=clip,
        signed=signed,
        bias_factors=bias_factors,
        window=window,
        key_mask=key_mask,
        cu_seqlens=cu_seqlens,
    )
    plain = torch.compiler.is_exporting() or needs_plain() or q.is_meta  # the first is true while compiling as well
    if not kernel and (dropout or plain or not q.shape[1]):
        # a graph with a length to be chosen later cannot loop over blocks, and blocks could not repeat their dropout
        return reference(
            q,
            k,
            v,
            causal=causal,
            log_forget=log_forget,
            output_gate=output_gate,
            head_weight=head_weight,
            clip=clip,
            signed=signed,
            bias_factors=bias_factors,
            window=window,
            key_mask=key_mask,
            cu_seqlens=cu_seqlens,
            scale=scale,
            dropout=dropout,
        )
    dtype, groups = torch.promote_types(q.dtype, torch.float32), k.shape[1]
    if bias_factors is not None:
        q, k, scale = join_bias(q, k, bias_factors, scale)
    if kernel:
        return finish(_kernel(q, k, v, causal, key_mask, scale, dropout), output_gate, head_weight)
    fading = None if log_forget is None else Decay(*(t.unflatten(1, (groups, -1)) for t in decay(log_forget)))
    rules = sight(q.shape[2], q.device, causal=causal, key_mask=key_mask, window=window, cu_seqlens=cu_seqlens)
    with uncast(q.device):
        q, k = (q.to(dtype) * scale).unflatten(1, (groups, -1)), k.to(dtype)
        # a clip counts the keys, and behind a mask a query may not see itself
        fades = clip is None and key_mask is None
        least = negligible(q, k, log_forget) if log_forget is not None and fades else None
        blocks = spans(rules, q.shape[0] * q.shape[1] * q.shape[2], q.shape[3], k.shape[2], fading, least)
        out: torch.Tensor = BlockAttention.apply(
            q,
            k,
            # keys may be the values, and torch.compile (2.14) refuses one tensor as two arguments
            v.to(dtype).view_as(v),
            *(fading or (None,) * 4),
            rules.key_mask,
            rules.first,
            rules.stop,
            causal,
            window,
            Options(clip, signed, blocks),
        )
    return finish(out.flatten(1, 2).to(v.dtype), output_gate, head_weight)


def torch_can(
    q: torch.Tensor,
    *,
    causal: bool,
    log_forget: Forget | None,
    clip: float | None,
    signed: bool,
    bias_factors: tuple[torch.Tensor, torch.Tensor] | None,
    window: int | None,
    key_mask: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
) -> bool:
    """Whether torch's own kernel does it without a ``[T, S]`` matrix: then nothing of ours is faster."""
    plain = log_forget is None and clip is None and not signed and window is None and cu_seqlens is None
    exact = bias_factors is None or q.dtype in (torch.float32, torch.float64)
    return plain and exact and not (causal and key_mask is not None)


def join_bias(
    q: torch.Tensor, k: torch.Tensor, bias_factors: tuple[torch.Tensor, torch.Tensor], scale: float
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return queries, keys and scale of the same scores: ``[s q | a] [k | b]^T = s q k^T + a b^T`` (FlashBias)."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    of_q, of_k = (f.to(dtype).expand(q.shape[0], -1, -1, -1) for f in bias_factors)
    return torch.cat((scale * q.to(dtype), of_q), -1), torch.cat((k.to(dtype), of_k), -1), 1.0


def _kernel(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool,
    key_mask: torch.Tensor | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    attend = _whole if _keep_weights(q, k.shape[2], dropout) else _torch
    if key_mask is None:
        return attend(q, k, v, None, causal, scale, dropout)
    visible = key_mask[:, None, None, :]
    sees_any = visible.any(-1, keepdim=True)
    # a row without a key would be 0/0: let it look everywhere, then blank its output
    out = attend(q, k, v, visible | ~sees_any, False, scale, dropout)
    return out.masked_fill(~sees_any, 0.0)


def _keep_weights(q: torch.Tensor, num_keys: int, dropout: float) -> bool:
    """Whether a CPU is faster with all weights at once: few keys, or dropout, for which torch keeps them too."""
    if not q.shape[1]:  # torch's kernel divides by the number of heads
        return True
    # an exported graph must not depend on the length it was traced with
    single = q.dtype in (torch.float32, torch.float64) and q.device.type == "cpu" and not is_exporting()
    return single and (dropout > 0 or num_keys <= _FEW_KEYS)


def _whole(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    visible: torch.Tensor | None,
    causal: bool,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    scores, num_keys = (scale * q) @ k.mT, k.shape[2]
    if causal:
        visible = torch.ones(q.shape[2], num_keys, dtype=torch.bool).tril()
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    # torch takes the exponential of what is left over of a vector number by number: 12 keys cost 15 times as much as 16
    scores = F.pad(scores, (0, -num_keys % _VECTOR), value=float("-inf"))
    weights = scores.softmax(-1)[..., :num_keys]
    return (ops_dropout(weights, dropout) if dropout else weights) @ v


def _torch(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    visible: torch.Tensor | None,
    causal: bool,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    width = v.shape[-1]
    # with unlike widths torch falls back to a form that keeps the matrix; zeros change nothing
    common = max(q.shape[-1], width)
    q, k, v = (t if t.shape[-1] == common else F.pad(t, (0, common - t.shape[-1])) for t in (q, k, v))
    if not scale > 0:  # torch multiplies its mask of -inf by it
        q, scale = scale * q, 1.0
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, dropout_p=dropout, is_causal=causal, scale=scale)
    return out[..., :width]
