"""The grid attention gate of Attention U-Net, in two and three dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from gated.errors import UserError


def conv(spatial_dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """Return torch's convolution class for 2 or 3 spatial dimensions."""
    return nn.Conv2d if spatial_dims == 2 else nn.Conv3d


def batch_norm(spatial_dims: int) -> type[nn.BatchNorm2d] | type[nn.BatchNorm3d]:
    """Return torch's batch norm class for 2 or 3 spatial dimensions."""
    return nn.BatchNorm2d if spatial_dims == 2 else nn.BatchNorm3d


def resample(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Interpolate ``[B, C, *S]`` (bi- or tri-)linearly to the spatial ``size``."""
    return F.interpolate(x, size=size, mode="bilinear" if x.dim() == 4 else "trilinear", align_corners=False)


class GridAttentionGate(nn.Module):
    """Grid attention gate (Oktay et al., *Attention U-Net*, arXiv 1804.03999, eq. 1 and 2, fig. 2).

    A coarse signal ``g`` decides which places of the skip connection ``x`` pass::

        alpha = up(sigmoid(psi(relu(theta(x) + up(phi(g))))))      y = W(alpha * x)

    ``theta`` is a strided convolution, ``phi`` and ``psi`` are 1x1 with bias, ``W`` is 1x1 with batch norm.

    Args:
        dim: channels of ``x``.
        gate_dim: channels of ``g``.
        spatial_dims: 2 or 3.
        hidden_dim: channels of the additive attention; ``dim`` by default.
        sub_sample: kernel and stride of ``theta``.
    """

    def __init__(
        self, dim: int, gate_dim: int, spatial_dims: int = 2, *, hidden_dim: int | None = None, sub_sample: int = 2
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise UserError(
                "GridAttentionGate: wrong number of spatial dimensions", expected="2 or 3", found=f"{spatial_dims}"
            )
        hidden_dim = hidden_dim or dim
        layer = conv(spatial_dims)
        self.theta = layer(dim, hidden_dim, sub_sample, stride=sub_sample, bias=False)
        self.phi = layer(gate_dim, hidden_dim, 1)
        self.psi = layer(hidden_dim, 1, 1)
        self.W = nn.Sequential(layer(dim, dim, 1), batch_norm(spatial_dims)(dim))

    def forward(self, x: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gate ``x`` ``[B, dim, *S]`` by ``g`` ``[B, gate_dim, *R]``.

        Returns:
            The gated skip connection ``[B, dim, *S]`` and ``alpha`` ``[B, 1, *S]`` in 0..1.
        """
        theta = self.theta(x)
        hidden = F.relu(theta + resample(self.phi(g), theta.shape[2:]))
        alpha = resample(torch.sigmoid(self.psi(hidden)), x.shape[2:])
        return self.W(alpha * x), alpha
