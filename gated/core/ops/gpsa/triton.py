"""The kernels of softmax attention for the content; positions as in ``chunk``."""

from __future__ import annotations

import torch

from gated.core.ops.gpsa.chunk import add_positional
from gated.core.ops.softmax_attention import softmax_attention


def triton(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    position: torch.Tensor,
    gate: torch.Tensor,
    *,
    grid: tuple[int, int],
    scale: float,
) -> torch.Tensor:
    """See :func:`gated.core.ops.gpsa`."""
    return add_positional(softmax_attention(q, k, v, scale=scale, impl="triton"), v, position, gate, grid)
