"""The two-layer network of a transformer block."""

from __future__ import annotations

import torch
from torch import nn

from gated.core.nn.dropout import Dropout


class MLP(nn.Module):
    """``fc2(dropout(activation(fc1(x))))`` over the last axis.

    Args:
        dim: channels in and out.
        hidden_dim: channels between.
        activation: class of the non-linearity.
        dropout: dropout between the layers.
    """

    def __init__(
        self, dim: int, hidden_dim: int, *, activation: type[nn.Module] = nn.GELU, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.activation = activation()
        self.dropout = Dropout(dropout)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., D] -> [..., D]``."""
        out: torch.Tensor = self.fc2(self.dropout(self.activation(self.fc1(x))))
        return out
