"""The definition: dense scores, readable, any dtype; run it in double precision to judge the other forms."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gated.core.ops.softmax_attention.forget import Forget, bias, decay
from gated.core.ops.softmax_attention.visible import sight, visible


def reference(
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
    weights = attention_weights(
        q,
        k,
        causal=causal,
        key_mask=key_mask,
        scale=scale,
        log_forget=log_forget,
        clip=clip,
        signed=signed,
        bias_factors=bias_factors,
        window=window,
        cu_seqlens=cu_seqlens,
    )
    out = F.dropout(weights, dropout) @ repeat_heads(v, q.shape[1])
    return finish(out, output_gate, head_weight)


def attention_weights(
    q: torch.Tensor,
    k: torch.Tensor,
    *,
    causal: bool,
    key_mask: torch.Tensor | None,
    scale: float,
    log_forget: Forget | None = None,
    clip: float | None = None,
    signed: bool = False,
    bias_factors: tuple[torch.Tensor, torch.Tensor] | None = None,
    window: int | None = None,
    cu_seqlens: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the attention matrix ``[B, H, T, S]``; without ``clip`` and ``signed`` its rows sum to one.

    A row is zero where no key may be seen.
    """
    scores = scale * q @ repeat_heads(k, q.shape[1]).transpose(-1, -2)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if bias_factors is not None:
        of_q, of_k = bias_factors
        scores = scores + (of_q @ repeat_heads(of_k, q.shape[1]).transpose(-1, -2)).to(scores.dtype)
    sign = torch.sign(scores)
    if signed:
        scores = scores.abs()
    if log_forget is not None:
        scores = scores + bias(decay(log_forget), 0, q.shape[2]).to(scores.dtype)
    rules = sight(q.shape[2], q.device, causal=causal, key_mask=key_mask, window=window, cu_seqlens=cu_seqlens)
    seen = visible(rules, 0, q.shape[2], 0, k.shape[2], q.device)
    if seen is not None:
        scores = scores.masked_fill(~seen[:, None], float("-inf"))
    # subtracting the largest visible score leaves the softmax unchanged and keeps exp finite; an empty row stays empty
    largest = scores.amax(-1, keepdim=True).clamp_min(torch.finfo(scores.dtype).min) if scores.shape[-1] else 0.0
    weights = torch.exp(scores - largest)
    total = weights.sum(-1, keepdim=True)
    weights = weights / total.where(total > 0, torch.ones_like(total))
    if clip is not None:
        gamma = -clip / (scores > float("-inf")).sum(-1, keepdim=True, dtype=scores.dtype).clamp_min(1)
        weights = ((1 - gamma) * weights + gamma).clamp_min(0)  # at most 1, as zeta is 1
    return (weights * sign if signed else weights).to(q.dtype)


def repeat_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Give each of ``heads`` query heads its key head: ``[B, HK, S, D] -> [B, H, S, D]``, neighbours share one."""
    if x.shape[1] == heads:
        return x
    # repeat_interleave would tie the length of an exported graph to its example
    return x.index_select(1, torch.arange(heads, device=x.device) // (heads // x.shape[1]))


def finish(out: torch.Tensor, output_gate: torch.Tensor | None, head_weight: torch.Tensor | None) -> torch.Tensor:
    """Apply what comes after the values are mixed: per-head weights ``[B, H, T]`` and the output gate."""
    if head_weight is not None:
        out = out * head_weight[..., None].to(out.dtype)
    return out if output_gate is None else out * torch.sigmoid(output_gate).to(out.dtype)
