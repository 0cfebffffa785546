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
    height, width = grid
    wide = torch.promote_types(v.dtype, torch.float32)
    toward_x, toward_y, square = position.to(wide).unbind(-1)
    share = torch.sigmoid(gate.to(wide))[:, None, None]
    rows_HYY = share * axis_weights(toward_y, square, height)
    columns_HXX = axis_weights(toward_x, square, width)

    content = F.scaled_dot_product_attention(q, k, v, scale=scale)
    # one axis at a time and pairwise: each einsum is one large matmul a head, with the batch inside it
    placed = torch.einsum("hyz,bhzxe->bhyxe", rows_HYY.to(v.dtype), v.unflatten(2, (height, width)))
    placed = torch.einsum("hxw,bhywe->bhyxe", columns_HXX.to(v.dtype), placed).flatten(2, 3)
    return ((1 - share) * content + placed).to(v.dtype)


def axis_weights(linear: torch.Tensor, square: torch.Tensor, size: int) -> torch.Tensor:
    """Return ``softmax_j(linear * d + square * d^2)`` with ``d = j - i`` along one axis, ``[H, size, size]``."""
    place = torch.arange(size, device=linear.device, dtype=linear.dtype)
    d = place[None, :] - place[:, None]
    return (linear[:, None, None] * d + square[:, None, None] * d**2).softmax(-1)
