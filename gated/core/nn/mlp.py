"""The two-layer network of a transformer block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class MLP(nn.Module):
    """``fc2(GELU(fc1(x)))`` over the last axis.

    Args:
        dim: channels in and out.
        hidden_dim: channels between.
        dropout: dropout after either layer.
    """

    def __init__(self, dim: int, hidden_dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., D] -> [..., D]``."""
        out: torch.Tensor = self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))
        return out
