"""Fusing two views of the same tokens by a learned convex combination."""

from __future__ import annotations

import torch
from torch import nn


class GatedFusion(nn.Module):
    """``G * a + (1 - G) * b`` with the element-wise gate ``G = sigmoid(A a + B b + c)``.

    The fusion of Gateformer (arXiv 2505.00307, eq. 5 and 8), useful for any two tensors of one shape. Its gate can be
    looked at: :meth:`gate` computes it, and ``forward`` is nothing but that gate applied.

    Args:
        dim: size of the last axis of both inputs.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.from_a = nn.Linear(dim, dim)
        self.from_b = nn.Linear(dim, dim)

    def gate(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the share of ``a`` in the result, in (0, 1), shaped like ``a``."""
        return torch.sigmoid(self.from_a(a) + self.from_b(b))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Fuse ``a`` and ``b``, both ``[..., dim]``."""
        return torch.lerp(b, a, self.gate(a, b))


class MeanFusion(nn.Module):
    """``(a + b) / 2``: a :class:`GatedFusion` whose gate is stuck at one half, to see what the gate is good for."""

    def gate(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return one half, shaped like ``a``."""
        return torch.full_like(a, 0.5)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Fuse ``a`` and ``b``, both ``[..., dim]``."""
        return torch.lerp(b, a, self.gate(a, b))
