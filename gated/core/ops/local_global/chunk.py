"""The fast form: cost linear in length, two batched matmuls a stream and no ``[T, T]`` matrix."""

from __future__ import annotations

from functools import partial

import torch

from gated.core.ops._decay import in_chunks, leading
from gated.core.ops._dropout import dropout as ops_dropout
from gated.core.ops.local_global.joint import attend


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
    local = partial(_local, group_size=group_size, causal=causal, dropout=dropout)
    return attend(local, q_local, k_local, q_global, k_global, values, group_size=group_size, causal=causal, mask=mask)


def _local(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, group_size: int, causal: bool, dropout: float
) -> torch.Tensor:
    q_groups, k_groups, v_groups = (in_chunks(x, group_size) for x in (q, k, v))
    scores = torch.relu(q_groups @ k_groups.transpose(-1, -2) / group_size).square()
    if causal:
        scores = scores.tril()
    if dropout:
        scores = ops_dropout(scores, dropout)
    return leading((scores @ v_groups).flatten(2, 3), 2, v.shape[2])
