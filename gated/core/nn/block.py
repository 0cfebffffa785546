"""The residual block of a transformer, around any token mixer."""

from __future__ import annotations

import torch
from torch import nn


class PreNormBlock(nn.Module):
    """``x + drop(mixer(norm(x)))``, then ``x + drop(mlp(norm(x)))`` (arXiv 2010.11929, eq. 2 and 3).

    With softmax attention, a ReLU and dropout it is ``nn.TransformerEncoderLayer(norm_first=True)``, weight for weight.

    Args:
        dim: channels of the tokens.
        mixer: a token mixer for ``dim`` channels; one that normalises its input itself gets it as it is.
        mlp: ``[..., dim] -> [..., dim]``.
        drop: what each branch goes through before it is added: ``Dropout`` or ``DropPath``, none by default.
        norm_eps: epsilon of the layer norms.
    """

    def __init__(
        self, dim: int, mixer: nn.Module, *, mlp: nn.Module, drop: nn.Module | None = None, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        own_norm = getattr(mixer, "normalizes_input", False)
        self.norm1 = nn.Identity() if own_norm else nn.LayerNorm(dim, eps=norm_eps)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = mlp
        self.drop = nn.Identity() if drop is None else drop

    def forward(self, x_BND: torch.Tensor, *, grid: tuple[int, ...] | None = None) -> torch.Tensor:
        """``[B, N, D] -> [B, N, D]``; ``grid`` goes to the mixer."""
        x_BND = x_BND + self.drop(self.mixer(self.norm1(x_BND), grid=grid))
        out: torch.Tensor = x_BND + self.drop(self.mlp(self.norm2(x_BND)))
        return out
