"""The fast form: cost linear in length, two batched matmuls a stream and no ``[T, T]`` matrix."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def chunk(
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
    # one matmul for all streams: the scores are shared, so the streams are columns of one value matrix
    v = torch.cat(values, -1)
    if mask is not None:
        real = mask[:, None, :, None].to(v.dtype)
        v, k_global = v * real, k_global * real
    grouped = [_groups(x, group_size) for x in (q_local, k_local, q_global, k_global, v)]
    q_local, k_local, q_global_groups, k_global_groups, v_groups = grouped

    scores = torch.relu(q_local @ k_local.transpose(-1, -2) / group_size).square()
    if causal:
        scores = scores.tril()
    if dropout:
        scores = F.dropout(scores, dropout)
    out = scores @ v_groups

    if causal:
        per_group = k_global_groups.transpose(-1, -2) @ v_groups / group_size
        before = per_group.cumsum(2) - per_group
        out = out + q_global_groups @ before
    else:
        summary = k_global.transpose(-1, -2) @ v
        if mask is None:
            summary = summary / max(length, 1)
        else:
            summary = summary / mask.sum(-1).clamp_min(1).to(v.dtype)[:, None, None, None]
        out = out + q_global_groups @ summary.unsqueeze(2)

    out = out.flatten(2, 3)[:, :, :length]
    if mask is not None:
        out = out * real
    return tuple(out.split([value.shape[-1] for value in values], -1))


def _groups(x: torch.Tensor, size: int) -> torch.Tensor:
    """``[B, H, T, D] -> [B, H, T/size, size, D]``, zero-padded at the end (zeros add nothing to either sum)."""
    x = F.pad(x, (0, 0, 0, -x.shape[2] % size))
    return x.unflatten(2, (-1, size))
