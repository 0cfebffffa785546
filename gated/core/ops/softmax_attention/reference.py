"""The definition: dense scores, readable, any dtype; run it in double precision to judge the other forms."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def reference(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool,
    output_gate: torch.Tensor | None,
    key_mask: torch.Tensor | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """See :func:`gated.core.ops.softmax_attention`."""
    weights = attention_weights(q, k, causal=causal, key_mask=key_mask, scale=scale)
    out = F.dropout(weights, dropout) @ v if dropout else weights @ v
    return out if output_gate is None else out * torch.sigmoid(output_gate)


def attention_weights(
    q: torch.Tensor, k: torch.Tensor, *, causal: bool, key_mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Return the attention matrix ``[B, H, T, S]``: rows sum to one, or to zero where no key may be seen."""
    scores = scale * q @ k.transpose(-1, -2)
    visible = torch.ones_like(scores, dtype=torch.bool)
    if causal:
        visible = visible.tril()
    if key_mask is not None:
        visible = visible & key_mask[:, None, None, :]
    scores = scores.masked_fill(~visible, float("-inf"))
    # subtracting the largest visible score leaves the softmax unchanged and keeps exp finite; an empty row stays empty
    largest = scores.amax(-1, keepdim=True).clamp_min(torch.finfo(scores.dtype).min) if scores.shape[-1] else 0.0
    weights = torch.exp(scores - largest)
    total = weights.sum(-1, keepdim=True)
    return weights / total.where(total > 0, torch.ones_like(total))
