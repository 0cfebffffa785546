"""Stochastic depth (arXiv 1603.09382): a residual branch is skipped for a random part of the batch."""

from __future__ import annotations

import torch
from torch import nn


class DropPath(nn.Module):
    """Zero whole samples with probability ``rate`` in training and scale the others, so that the mean stays.

    Args:
        rate: probability of skipping, 0 <= rate < 1.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, ...] -> [B, ...]``."""
        if not self.training or self.rate == 0.0:
            return x
        keep = torch.rand(x.shape[0], *(1,) * (x.dim() - 1), device=x.device) >= self.rate
        return x * keep.to(x.dtype) / (1 - self.rate)

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate}"
