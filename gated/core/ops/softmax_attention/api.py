"""Public function of the op: docstring, checks, choice of form."""

from __future__ import annotations

from typing import Any

import torch

from gated.core.ops._checks import Shapes
from gated.core.ops._op import Impl, declare
from gated.core.ops.softmax_attention.checks import check_inputs
from gated.core.ops.softmax_attention.chunk import torch_can
from gated.core.ops.softmax_attention.forget import Forget

OP = declare("softmax_attention", "reference", "chunk", "triton")


def softmax_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool = False,
    log_forget: Forget | None = None,
    output_gate: torch.Tensor | None = None,
    head_weight: torch.Tensor | None = None,
    clip: float | None = None,
    signed: bool = False,
    bias_factors: tuple[torch.Tensor, torch.Tensor] | None = None,
    window: int | None = None,
    key_mask: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    check: bool = True,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Softmax attention with gates, ``sigmoid(output_gate) * softmax(scale * q k^T + bias) v``; options combine.

    Args:
        q: queries ``[B, H, T, D]``.
        k: keys ``[B, HK, S, D]``; ``H`` is a multiple of ``HK``, and ``H / HK`` neighbouring query heads share one.
        v: values ``[B, HK, S, E]``.
        causal: query ``t`` sees keys ``0..t``; needs ``S == T``.
        log_forget: log of a forget gate, ``[B, H, T]``, <= 0, -inf allowed: ``sum(log_forget[j+1..i])`` is added to the
            score of query ``i`` and key ``j <= i`` (Forgetting Transformer, arXiv 2503.02130). Without
            ``causal`` the same gates act on both sides, ``-|c_i - c_j|`` with ``c`` their running sum; or give a pair,
            the second for keys ``j > i``, which get ``sum(second[i..j-1])``: the mirror image of the first.
        output_gate: gate before the sigmoid, ``[B, H, T, E]`` (element-wise) or ``[B, H, T, 1]`` (head-wise): G1 of
            "Gated Attention for Large Language Models", arXiv 2505.06708, eq. 5.
        head_weight: factor on each head's output, ``[B, H, T]`` (Mixture-of-Head attention, arXiv 2410.11842).
        clip: alpha >= 0 of the clipped softmax ``max(0, (1 - gamma) softmax + gamma)``, ``gamma = -alpha / keys seen by
            the query`` (Quantizable Transformers, arXiv 2306.12929, eq. 4, with zeta = 1).
        signed: weights ``sign(p) softmax(|p|)`` of the scores ``p`` (Cog Attention); a forget gate acts on ``|p|``. Not
            with ``clip``.
        bias_factors: ``([B or 1, H, T, R], [B or 1, HK, S, R])``, whose product is added to the scores (FlashBias).
        window: number of keys in a query's neighbourhood: the ``window`` keys that begin at ``t - window // 2``, moved
            inside the sequence at its ends (Neighborhood Attention, arXiv 2204.07143), or the last ``window`` keys if
            ``causal``; needs ``S == T``.
        key_mask: ``[B, S]`` bool, True where a key is real. A query with no key to look at gives zeros.
        cu_seqlens: ``[N + 1]`` ints from 0 to ``T``, where each of ``N`` sequences packed along ``T`` begins; needs
            ``B == 1`` and ``S == T``. Not with ``key_mask``.
        scale: factor on the scores, ``D ** -0.5`` by default.
        dropout: probability of dropping an attention weight; pass 0 outside training. Not with ``impl="triton"``.
        check: refuse gates above 0 (reads all of them; never under compile and export).
        impl: form to run; ``"auto"`` picks, and leaves to torch's own kernel what that can do.

    Returns:
        ``[B, H, T, E]`` in the dtype of ``v``.

    Raises:
        UserError: a shape, dtype or value does not fit, options exclude each other, or ``impl`` cannot run here.

    Example:
        >>> q = k = v = torch.randn(1, 2, 5, 8)
        >>> softmax_attention(q, k, v, output_gate=torch.zeros(1, 2, 5, 1)).shape
        torch.Size([1, 2, 5, 8])
        >>> softmax_attention(q, k, v, causal=True, log_forget=-torch.rand(1, 2, 5), window=3).shape
        torch.Size([1, 2, 5, 8])
    """
    rules: dict[str, Any] = {
        "causal": causal,
        "log_forget": log_forget,
        "clip": clip,
        "signed": signed,
        "bias_factors": bias_factors,
        "window": window,
        "key_mask": key_mask,
        "cu_seqlens": cu_seqlens,
    }
    Shapes(OP.name).number(clip=clip, window=window, scale=scale).share("dropout", dropout)
    check_inputs(OP.name, q, k, v, **rules, output_gate=output_gate, head_weight=head_weight, check=check)
    if key_mask is not None:
        # padding may hold what is no number, which a weight of zero would not remove
        hidden = ~key_mask[:, None, :, None]
        k, v = k.masked_fill(hidden, 0.0), v.masked_fill(hidden, 0.0)
        if bias_factors is not None:
            rules["bias_factors"] = bias_factors[0], bias_factors[1].masked_fill(hidden, 0.0)
    if impl == "auto" and (dropout or torch_can(q, **rules)):
        # torch's own kernel is the fastest wherever it will do, and only chunk drops weights
        impl = "chunk"
    out: torch.Tensor = OP.pick(impl, q.device)(
        q,
        k,
        v,
        **rules,
        output_gate=output_gate,
        head_weight=head_weight,
        scale=max(q.shape[-1], 1) ** -0.5 if scale is None else scale,
        dropout=dropout,
    )
    return out
