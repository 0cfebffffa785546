"""The fast form: the positional softmax is a Kronecker product of a map over rows and one over columns.

No ``[N, N]`` tensor is made for positions, and torch's blockwise attention makes none for content either.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def chunk(
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
    # torch's kernel divides by the number of heads
    content = F.scaled_dot_product_attention(q, k, v, scale=scale) if q.shape[1] else v
    return add_positional(content, v, position, gate, grid)


def add_positional(
    content: torch.Tensor, v: torch.Tensor, position: torch.Tensor, gate: torch.Tensor, grid: tuple[int, int]
) -> torch.Tensor:
    """Mix the output of content attention ``[B, H, N, E]`` with that of positional attention, as the gates say."""
    height, width = grid
    wide = torch.promote_types(v.dtype, torch.float32)
    toward_x, toward_y, square = position.to(wide).unbind(-1)
    share = torch.sigmoid(gate.to(wide))[:, None, None]
    rows_HYY = share * axis_weights(toward_y, square, height)
    columns_HXX = axis_weights(toward_x, square, width)
    # one axis at a time and in the order of memory: no tensor is laid out anew
    placed = rows_HYY.to(v.dtype) @ v.unflatten(2, (height, width)).flatten(3)
    placed = columns_HXX.to(v.dtype).unsqueeze(1) @ placed.unflatten(3, (width, v.shape[-1]))
    return torch.addcmul(placed.flatten(2, 3), 1 - share, content).to(v.dtype)


def axis_weights(linear: torch.Tensor, square: torch.Tensor, size: int) -> torch.Tensor:
    """Return ``softmax_j(linear * d + square * d^2)`` with ``d = j - i`` along one axis, ``[H, size, size]``."""
    place = torch.arange(size, device=linear.device, dtype=linear.dtype)
    d = place[None, :] - place[:, None]
    return (linear[:, None, None] * d + square[:, None, None] * d**2).softmax(-1)
