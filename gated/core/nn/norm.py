"""Norms that torch does not ship."""

from __future__ import annotations

import torch
from torch import nn


class ScaleNorm(nn.Module):
    """``g * x / max(|x| / sqrt(D), eps)`` over the last axis with one learnable ``g`` (arXiv 1910.05895, eq. 5)."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale = dim**-0.5
        self.eps = eps
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., D] -> [..., D]``."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * self.scale
        return x / norm.clamp_min(self.eps) * self.g
