"""Images to tokens, and the learnt position of each token at any resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class PatchEmbed(nn.Module):
    """Cut an image into square patches and project each: ``[B, C, H, W] -> [B, N, D]`` and the grid.

    Images whose sides are no multiple of the patch are padded with zeros at the bottom and the right.

    Args:
        in_chans: channels of the image.
        dim: channels of a token.
        patch_size: side of a patch in pixels.
    """

    def __init__(self, in_chans: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of patches that an image of ``height x width`` pixels is cut into."""
        return -(-height // self.patch_size), -(-width // self.patch_size)

    def forward(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return tokens ``[B, N, D]``, row by row, and ``(height, width)`` of the grid."""
        height, width = x_BCHW.shape[-2:]
        rows, columns = self.grid(height, width)
        bottom, right = rows * self.patch_size - height, columns * self.patch_size - width
        if bottom or right:
            x_BCHW = F.pad(x_BCHW, (0, right, 0, bottom))
        return self.proj(x_BCHW).flatten(2).transpose(1, 2), (rows, columns)


def resize_positions(table_1ND: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """Interpolate learnt positions ``[1, N, D]`` from grid ``old`` to grid ``new`` (bicubic, antialiased, in fp32)."""
    if old == new:
        return table_1ND
    image = table_1ND.float().unflatten(1, old).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=new, mode="bicubic", antialias=True, align_corners=False)
    return image.flatten(2).transpose(1, 2).to(table_1ND.dtype)
