"""The definition: both score matrices written out, readable; run it in double precision to judge the other forms."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def reference(
    q_local: torch.Tensor,
    k_local: torch.Tensor,
    q_global: torch.Tensor,
    k_global: torch.Tensor,
    values: tuple[torch.Tensor, ...],
    *,
    group_size: int,
    causal: bool,
    mask: torch.Tensor | None,
    dropout: float,
) -> tuple[torch.Tensor, ...]:
    """See :func:`gated.core.ops.local_global`."""
    length = q_local.shape[2]
    if mask is None:
        mask = torch.ones(q_local.shape[0], length, dtype=torch.bool, device=q_local.device)
    real = mask[:, None, :, None] & mask[:, None, None, :]
    group = torch.arange(length, device=q_local.device) // group_size
    local = (group[:, None] == group[None, :]) & real
    if causal:
        local = local.tril()
        beyond = (group[:, None] > group[None, :]) & real
        scale = torch.full((), 1.0 / group_size, dtype=q_global.dtype, device=q_global.device)
    else:
        beyond = real
        scale = 1.0 / mask.sum(-1).clamp_min(1).to(q_global.dtype)[:, None, None, None]
    scores = torch.relu(q_local @ k_local.transpose(-1, -2) / group_size).square().masked_fill(~local, 0.0)
    scores = F.dropout(scores, dropout) if dropout else scores
    scores = scores + (scale * q_global @ k_global.transpose(-1, -2)).masked_fill(~beyond, 0.0)
    return tuple(scores @ v for v in values)
