"""The fast form: torch's own blockwise attention, so that no ``[T, S]`` matrix is kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def chunk(
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
    if key_mask is None:
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal, scale=scale)
        return out if output_gate is None else out * torch.sigmoid(output_gate)
    visible = key_mask[:, None, None, :].expand(-1, 1, q.shape[2], -1)
    if causal:
        visible = visible & torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
    sees_any = visible.any(-1, keepdim=True)
    # a row without a key would be 0/0 in some kernels: let it look everywhere, then blank its output
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible | ~sees_any, dropout_p=dropout, scale=scale)
    out = out.masked_fill(~sees_any, 0.0)
    return out if output_gate is None else out * torch.sigmoid(output_gate)
