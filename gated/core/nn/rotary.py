"""Rotary position embedding (RoFormer, arXiv 2104.09864, eq. 34) on interleaved pairs, with angles in fp32."""

from __future__ import annotations

import torch


def rotary_angles(
    length: int, dim: int, device: torch.device, base: float = 10_000.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``cos, sin`` of ``[length, dim / 2]`` in fp32.

    Positions in bf16 would be off by a third of their angle beyond 2,000 tokens, so the angles never take the dtype of
    the activations.
    """
    # rounded as in the published networks: far out in a long recording the last bit of a frequency shows in the angle
    inverse = 1.0 / base ** (torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * inverse
    return angle.cos(), angle.sin()


def apply_rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the first ``2 * cos.shape[-1]`` channels of ``x`` ``[..., T, D]`` in pairs ``(0, 1), (2, 3), ...``."""
    width = 2 * cos.shape[-1]
    rotated, rest = x[..., :width], x[..., width:]
    wide = torch.promote_types(x.dtype, torch.float32)
    first, second = rotated.to(wide).unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((first * cos - second * sin, second * cos + first * sin), -1).flatten(-2)
    return torch.cat((rotated.to(x.dtype), rest), -1)
