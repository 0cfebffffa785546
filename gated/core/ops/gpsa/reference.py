"""The definition: dense ``[N, N]`` maps, readable, any dtype; run it in double precision to judge the other forms."""

from __future__ import annotations

import torch


def reference(
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
    return attention_weights(q, k, position, gate, grid=grid, scale=scale).to(v.dtype) @ v


def attention_weights(
    q: torch.Tensor,
    k: torch.Tensor,
    position: torch.Tensor,
    gate: torch.Tensor,
    *,
    grid: tuple[int, int],
    scale: float,
) -> torch.Tensor:
    """Return the mixed attention matrix ``[B, H, N, N]``; its rows sum to one because both parts' rows do."""
    wide = torch.promote_types(q.dtype, torch.float32)
    content = (scale * q.to(wide) @ k.to(wide).transpose(-1, -2)).softmax(-1)
    share = torch.sigmoid(gate.to(wide))[:, None, None]
    return (1 - share) * content + share * positional_weights(position.to(wide), grid)


def positional_weights(position: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Return the positional attention ``[H, N, N]`` of eq. 7 for weights ``[H, 3]``."""
    height, width = grid
    y, x = torch.meshgrid(
        torch.arange(height, device=position.device, dtype=position.dtype),
        torch.arange(width, device=position.device, dtype=position.dtype),
        indexing="ij",
    )
    dx = x.reshape(1, -1) - x.reshape(-1, 1)
    dy = y.reshape(1, -1) - y.reshape(-1, 1)
    r_NN3 = torch.stack((dx, dy, dx**2 + dy**2), -1)
    return (r_NN3 @ position.T).permute(2, 0, 1).softmax(-1)
