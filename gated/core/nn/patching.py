"""Cutting a series into overlapping or adjacent patches that become tokens."""

from __future__ import annotations

import math

import torch
from torch import nn

from gated.core.nn.dropout import Dropout
from gated.errors import UserError


def sinusoidal_table(length: int, dim: int) -> torch.Tensor:
    """Return the ``[length, dim]`` sine (even) and cosine (odd columns) table of "Attention is all you need" (§3.5)."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, dtype=torch.float64) * (-math.log(10000.0) / dim))
    table = torch.zeros(length, dim, dtype=torch.float64)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : dim // 2]
    return table.float()


class SeriesPatches(nn.Module):
    """Patches of a series as tokens: ``[B, L] -> [B, num_patches, dim]``.

    The end is padded by repeating the last value ``stride`` times, each patch is mapped linearly without bias and a
    fixed sinusoidal position is added (PatchTST, arXiv 2211.14730 §3.1, with the positions of Gateformer's code). Where
    ``stride`` divides ``L - patch_size`` the last patch starts in the padding, or wholly lies in it.

    Args:
        input_size: length ``L`` of the series.
        dim: size of a token.
        patch_size: values in a patch.
        stride: steps from one patch to the next.
        dropout: on the tokens.
    """

    def __init__(self, input_size: int, dim: int, *, patch_size: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        if not (1 <= patch_size <= input_size and stride >= 1):
            raise UserError(
                "the patches do not fit into the series",
                expected=f"1 <= patch_size <= {input_size} (input_size) and stride >= 1",
                found=f"patch_size={patch_size}, stride={stride}",
            )
        self.patch_size, self.stride = patch_size, stride
        self.num_patches = (input_size - patch_size) // stride + 2
        self.embed = nn.Linear(patch_size, dim, bias=False)
        self.dropout = Dropout(dropout)
        self.positions: torch.Tensor
        self.register_buffer("positions", sinusoidal_table(self.num_patches, dim), persistent=False)

    def forward(self, x_BL: torch.Tensor) -> torch.Tensor:
        """Return the tokens ``[B, num_patches, dim]`` of ``[B, L]``."""
        padded = torch.cat([x_BL, x_BL[:, -1:].expand(-1, self.stride)], dim=1)
        patches_BPS = padded.unfold(-1, self.patch_size, self.stride)
        tokens: torch.Tensor = self.dropout(self.embed(patches_BPS) + self.positions)
        return tokens
