"""Norms that torch does not ship."""

from __future__ import annotations

from typing import Literal

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


class SequenceNorm(nn.Module):
    """Mean 0 and variance 1 within every sequence ``[B, T, C]``, then one learnable scale and offset a channel.

    Args:
        dim: channels ``C``.
        over: what shares a mean and a variance: ``"all"`` frames and channels (global layer norm), the channels of each
            ``"frame"`` (layer norm), or all times of each channel, ``"time"`` (instance norm).
        eps: added to the variance.
    """

    def __init__(self, dim: int, *, over: Literal["all", "frame", "time"] = "all", eps: float = 1e-8) -> None:
        super().__init__()
        self.axes = {"all": (1, 2), "frame": (2,), "time": (1,)}[over]
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """Normalise, in fp32 or better; a single frame is allowed (over time it becomes the offset)."""
        wide = x_BTC.to(torch.promote_types(x_BTC.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, self.axes, correction=0, keepdim=True)
        return ((wide - mean) * torch.rsqrt(variance + self.eps)).to(x_BTC.dtype) * self.weight + self.bias
