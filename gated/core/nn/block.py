"""The residual block of a vision transformer, around any token mixer."""

from __future__ import annotations

import torch
from torch import nn

from gated.core.nn.drop_path import DropPath
from gated.core.nn.mlp import MLP


class PreNormBlock(nn.Module):
    """``x + mixer(norm(x))``, then ``x + mlp(norm(x))`` (arXiv 2010.11929, eq. 2 and 3).

    Args:
        dim: channels of the tokens.
        mixer: a token mixer for ``dim`` channels; one that normalises its input itself gets it as it is.
        mlp_ratio: hidden channels of the MLP in units of ``dim``.
        drop_path: probability of skipping each of the two branches in training.
        norm_eps: epsilon of the layer norms.
    """

    def __init__(
        self, dim: int, mixer: nn.Module, *, mlp_ratio: float = 4.0, drop_path: float = 0.0, norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        own_norm = getattr(mixer, "normalizes_input", False)
        self.norm1 = nn.Identity() if own_norm else nn.LayerNorm(dim, eps=norm_eps)
        self.attn = mixer
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BND: torch.Tensor, *, grid: tuple[int, ...] | None = None) -> torch.Tensor:
        """``[B, N, D] -> [B, N, D]``; ``grid`` goes to the mixer."""
        x_BND = x_BND + self.drop_path(self.attn(self.norm1(x_BND), grid=grid))
        out: torch.Tensor = x_BND + self.drop_path(self.mlp(self.norm2(x_BND)))
        return out
