"""The pre-norm transformer layer around any mixer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class PreNormLayer(nn.Module):
    """``x + drop(mixer(norm x))``, then ``x + drop(mlp(norm x))`` with a ReLU between the two maps of the MLP.

    With softmax attention this is ``nn.TransformerEncoderLayer(norm_first=True)``, weight for weight. A mixer that
    normalises its input itself (``normalizes_input``) is not given a second norm.

    Args:
        dim: size of a token.
        hidden_dim: size between the two maps of the MLP.
        mixer: ``dim -> mixer`` of ``[B, N, dim]``.
        dropout: on both branches and inside the MLP.
    """

    def __init__(self, dim: int, hidden_dim: int, *, mixer: Callable[[int], nn.Module], dropout: float = 0.0) -> None:
        super().__init__()
        self.mixer = mixer(dim)
        self.norm1 = nn.Identity() if getattr(self.mixer, "normalizes_input", False) else nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return tokens ``[B, N, dim]`` for tokens ``[B, N, dim]``."""
        x_BND = x_BND + self.dropout(self.mixer(self.norm1(x_BND)))
        out: torch.Tensor = x_BND + self.dropout(self.mlp(self.norm2(x_BND)))
        return out
