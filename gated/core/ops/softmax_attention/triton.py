"""The form for GPUs: kernels that hold every option but dropout, never more than a tile of the attention matrix."""

from __future__ import annotations

import torch

from gated.core.ops.softmax_attention.chunk import join_bias
from gated.core.ops.softmax_attention.forget import Forget, decay
from gated.core.ops.softmax_attention.launches import mix
from gated.core.ops.softmax_attention.reference import finish
from gated.core.ops.softmax_attention.visible import intervals, sight
from gated.errors import UserError


def triton(
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
    """See :func:`gated.core.ops.softmax_attention`.

    Raises:
        UserError: ``dropout`` is not 0.
    """
    if dropout:
        raise UserError(
            "softmax_attention: impl='triton' drops no attention weights",
            expected="dropout=0",
            found=f"dropout={dropout}",
            hint="use impl='chunk'",
        )
    if bias_factors is not None:
        q, k, scale = join_bias(q, k, bias_factors, scale)
    elif q.dtype == torch.float64:
        q, scale = scale * q, 1.0  # a kernel takes numbers in single precision
    past = future = past_resets = future_resets = None
    if log_forget is not None:
        past, future, past_resets, future_resets = decay(log_forget)
        if causal:
            future = future_resets = None
    rules = sight(q.shape[2], q.device, causal=causal, key_mask=key_mask, window=window, cu_seqlens=cu_seqlens)
    begin, end = intervals(rules, 0, q.shape[2], q.device)
    out, *_ = mix(
        *(q, k, v, past, future, past_resets, future_resets, key_mask, begin, end),
        scale=scale,
        clip=clip,
        signed=signed,
    )
    return finish(out, output_gate, head_weight)
