"""Attention U-Net in two and three dimensions (Oktay et al., arXiv 1804.03999)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.mixers.base import MixerFactory, require
from gated.core.nn.attention_gate import GridAttentionGate, batch_norm, conv, resample
from gated.core.nn.buildable import Buildable
from gated.errors import UserError

GateFactory = Callable[[int, int, int], nn.Module]
"""``(dim, gate_dim, spatial_dims) -> gate``; a gate maps ``(skip, signal)`` to ``(gated skip, alpha)``."""


class GatedUNet(Buildable):
    """Segmenter, ``[B, C, *S] -> [B, num_classes, *S]`` logits, whose skip connections are gated by the layer below.

    Five levels. The gates of levels 4, 3, 2 listen to the centre, to decoder level 4 and to decoder level 3; the finest
    skip connection is not gated. With ``deep_supervision`` the logits are one 1x1 convolution over what all four
    decoder levels predict. Sides that are no multiple of 16 are padded inside, and the logits are cut back.

    Args:
        num_classes: outputs a pixel, background included.
        in_chans: channels of the images.
        spatial_dims: 2 for images, 3 for volumes.
        feature_scale: the levels have 64, 128, 256, 512 and 1024 channels divided by this.
        gate: ``"none"`` (plain U-Net), ``"single"``, or ``"multi"``: two gates in parallel at each level.
        deep_supervision: see above.
        skip_gate: factory of the gates, ``(dim, gate_dim, spatial_dims) -> gate``.
        mixer: factory of a token mixer that is added, as a residual branch, at the centre; None for none.
    """

    STRIDE = 16

    def __init__(
        self,
        num_classes: int = 2,
        in_chans: int = 1,
        *,
        spatial_dims: int = 2,
        feature_scale: int = 4,
        gate: Literal["none", "single", "multi"] = "single",
        deep_supervision: bool = True,
        skip_gate: GateFactory = GridAttentionGate,
        mixer: MixerFactory | None = None,
    ) -> None:
        super().__init__()
        num_gates = {"none": 0, "single": 1, "multi": 2}
        if gate not in num_gates:
            raise UserError(f"GatedUNet: unknown gate {gate!r}", expected="'none', 'single' or 'multi'")
        if spatial_dims not in (2, 3):
            raise UserError("GatedUNet: wrong number of spatial dimensions", expected="2 or 3", found=f"{spatial_dims}")
        self.num_classes, self.in_chans, self.spatial_dims = num_classes, in_chans, spatial_dims
        layer = conv(spatial_dims)
        dims = [64 // feature_scale * 2**level for level in range(5)]

        self.encoder = nn.ModuleList(
            DoubleConv(dim_in, dim, spatial_dims) for dim_in, dim in zip([in_chans, *dims], dims, strict=False)
        )
        self.mixer = CentreMixer(dims[4], mixer, spatial_dims) if mixer else nn.Identity()
        # index i is level i + 1, the finest first; the gates start one level deeper
        self.decoder = nn.ModuleList(DoubleConv(dims[i + 1] + dims[i], dims[i], spatial_dims) for i in range(4))
        self.signal = ConvNormAct(dims[4], dims[4], spatial_dims) if gate != "none" else None
        self.gates = nn.ModuleList(
            ParallelGates(dims[i], dims[i + 1], spatial_dims, num_gates[gate], skip_gate)
            for i in range(1, 4)
            if gate != "none"
        )
        self.side_logits = nn.ModuleList(layer(dims[i], num_classes, 1) for i in range(4) if deep_supervision)
        self.logits = layer(4 * num_classes if deep_supervision else dims[0], num_classes, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming normal convolutions, batch norms close to the identity; a mixer keeps its own start."""
        for name, module in self.named_modules():
            if name.startswith("mixer."):
                continue
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, num_classes, *S]``."""
        return self.forward_with_gates(x)[0]

    def forward_with_gates(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return logits and what the gates let pass, one ``[B, gates, *S]`` in 0..1 a level, coarsest first.

        The maps are at the resolution of the image.
        """
        if x.dim() != 2 + self.spatial_dims or x.shape[1] != self.in_chans:
            axes = ", ".join("DHW"[-self.spatial_dims :])
            raise UserError(
                "GatedUNet: wrong shape of the images",
                expected=f"[B, {self.in_chans}, {axes}]",
                found=str(list(x.shape)),
            )
        size = x.shape[2:]
        x = pad_to_multiple(x, self.STRIDE)
        padded = x.shape[2:]
        pool = F.max_pool2d if self.spatial_dims == 2 else F.max_pool3d
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(pool(x, 2) if level else x)
            skips.append(x)
        x = self.mixer(skips.pop())

        alphas, sides = [], []
        signal = self.signal(x) if self.signal is not None else x
        for i in (3, 2, 1, 0):
            skip = skips[i]
            if i > 0 and self.gates:
                skip, alpha = self.gates[i - 1](skip, signal)
                alphas.append(crop(resample(alpha, padded), size))
            x = self.decoder[i](torch.cat((skip, resample(x, skip.shape[2:])), 1))
            signal = x
            if self.side_logits:
                sides.append(resample(self.side_logits[i](x), padded))
        return crop(self.logits(torch.cat(sides[::-1], 1) if sides else x), size), alphas


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, dim_in: int, dim: int, spatial_dims: int, kernel_size: int = 1) -> None:
        super().__init__(
            conv(spatial_dims)(dim_in, dim, kernel_size, padding=kernel_size // 2),
            batch_norm(spatial_dims)(dim),
            nn.ReLU(inplace=True),
        )


class DoubleConv(nn.Sequential):
    """Two convolutions of side 3, each with batch norm and ReLU."""

    def __init__(self, dim_in: int, dim: int, spatial_dims: int) -> None:
        super().__init__(ConvNormAct(dim_in, dim, spatial_dims, 3), ConvNormAct(dim, dim, spatial_dims, 3))


class ParallelGates(nn.Module):
    """One or more gates on one skip connection; a 1x1 convolution combines what they pass."""

    def __init__(self, dim: int, gate_dim: int, spatial_dims: int, num_gates: int, skip_gate: GateFactory) -> None:
        super().__init__()
        self.gates = nn.ModuleList(skip_gate(dim, gate_dim, spatial_dims) for _ in range(num_gates))
        self.combine = ConvNormAct(num_gates * dim, dim, spatial_dims)

    def forward(self, skip: torch.Tensor, signal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gated skip connection and the maps ``[B, num_gates, *S]``."""
        passed, alphas = zip(*(gate(skip, signal) for gate in self.gates), strict=True)
        return self.combine(torch.cat(passed, 1)), torch.cat(alphas, 1)


class CentreMixer(nn.Module):
    """``x + mixer(norm(x))`` with the places of the coarsest map as tokens."""

    def __init__(self, dim: int, mixer: MixerFactory, spatial_dims: int) -> None:
        super().__init__()
        self.mixer = mixer(dim)
        if self.mixer.needs_grid:
            require(self.mixer, f"GatedUNet with spatial_dims={spatial_dims}", grid_dims=spatial_dims)
        self.norm = nn.Identity() if self.mixer.normalizes_input else nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, *S] -> [B, C, *S]``."""
        grid = tuple(x.shape[2:])
        tokens = self.mixer(self.norm(x.flatten(2).transpose(1, 2)), grid=grid)
        return x + tokens.transpose(1, 2).unflatten(2, grid)


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the last row and column (and slice) of ``[B, C, *S]`` until every side is a multiple."""
    missing = [-side % multiple for side in x.shape[:1:-1]]
    return F.pad(x, [pad for side in missing for pad in (0, side)], mode="replicate") if any(missing) else x


def crop(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Cut ``[B, C, *S]`` back to ``size``."""
    return x[(..., *(slice(side) for side in size))]
