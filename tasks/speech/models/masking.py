"""Time-domain separation by masking a learned representation: what the MossFormers share around their layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.mixers import MixerFactory, require
from gated.core.nn.buildable import Buildable
from gated.core.nn.norm import ScaleNorm, SequenceNorm
from gated.errors import UserError


class MaskingSeparator(Buildable):
    """Mixture ``[B, T]`` to ``num_speakers`` sources ``[B, S, T]``: encoder, masking network, decoder.

    Args:
        num_speakers: voices to separate.
        dim: channels ``D`` inside the masking network.
        layer: makes one layer of the masking network; it maps ``x`` ``[B, frames, D]`` to the update added to ``x``.
        depth: number of layers.
        encoder_dim: channels ``N`` of the learned representation.
        kernel_size: samples in a frame; frames advance by half of it.
        per_frame: norms see one frame at a time instead of the whole signal.

    Raises:
        UserError: a size is not positive, or one that must be even is not.
    """

    def __init__(
        self,
        num_speakers: int,
        dim: int,
        *,
        layer: Callable[[], nn.Module],
        depth: int,
        encoder_dim: int,
        kernel_size: int,
        per_frame: bool,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_positive(name, num_speakers=num_speakers, dim=dim, depth=depth, encoder_dim=encoder_dim)
        if kernel_size < 2 or kernel_size % 2 or dim % 2:
            raise UserError(f"{name}: kernel_size and dim must be even", found=f"kernel_size={kernel_size}, dim={dim}")
        self.num_speakers, self.kernel_size, self.stride = num_speakers, kernel_size, kernel_size // 2
        norm_over = "frame" if per_frame else "all"
        self.encoder = nn.Conv1d(1, encoder_dim, kernel_size, stride=self.stride, bias=False)
        self.norm_in = SequenceNorm(encoder_dim, over=norm_over)
        self.project_in = nn.Linear(encoder_dim, dim, bias=False)
        self.position_scale = nn.Parameter(torch.ones(1))
        self.layers = nn.ModuleList(layer() for _ in range(depth))
        self.norm_out = nn.LayerNorm(dim, eps=1e-6)
        self.norm_skip = SequenceNorm(dim, over=norm_over)
        self.activation = nn.PReLU()
        self.split_speakers = nn.Linear(dim, dim * num_speakers)
        self.output = nn.Linear(dim, dim)
        self.output_gate = nn.Linear(dim, dim)
        self.project_out = nn.Linear(dim, encoder_dim, bias=False)
        self.decoder = nn.ConvTranspose1d(encoder_dim, 1, kernel_size, stride=self.stride, bias=False)

    def forward(self, mixture_BT: torch.Tensor) -> torch.Tensor:
        """Separate; any length, 0 included (less than a frame is padded to one).

        The last ``(T - kernel_size) % stride`` samples lie beyond the last whole frame and come back as zeros.

        Args:
            mixture_BT: waveforms ``[B, T]``.

        Returns:
            Waveforms ``[B, S, T]``.
        """
        if mixture_BT.dim() != 2:
            raise UserError(
                f"{type(self).__name__}: the mixture has the wrong shape",
                expected="[B, T]",
                found=str(list(mixture_BT.shape)),
            )
        batch, length = mixture_BT.shape
        padded = F.pad(mixture_BT, (0, max(0, self.kernel_size - length)))
        encoded_BTN = F.relu(self.encoder(padded.unsqueeze(1))).transpose(1, 2)
        masks_BSTN = self.masks(encoded_BTN)
        separated = (encoded_BTN.unsqueeze(1) * masks_BSTN).flatten(0, 1)
        sources = self.decoder(separated.transpose(1, 2)).view(batch, self.num_speakers, -1)
        return F.pad(sources, (0, length - sources.shape[-1]))

    def masks(self, encoded_BTN: torch.Tensor) -> torch.Tensor:
        """Return the mask of every speaker, ``[B, T, N] -> [B, S, T, N]``, not negative and not bounded above."""
        x = self.project_in(self.norm_in(encoded_BTN))
        x = x + self.position_scale * _sinusoids(x.shape[1], x.shape[2], x.device).to(x.dtype)
        skip = x
        for layer in self.layers:
            x = x + layer(x)
        x = self.activation(self.norm_skip(self.norm_out(x)) + skip)
        x = self.split_speakers(x).unflatten(-1, (self.num_speakers, -1)).transpose(1, 2)
        return F.relu(self.project_out(torch.tanh(self.output(x)) * torch.sigmoid(self.output_gate(x))))

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not be decayed."""
        return {name for name, _ in self.named_parameters() if name.endswith(("gamma", "beta"))}


def check_positive(backbone: str, **sizes: int) -> None:
    """Raise a UserError that names the first size below 1."""
    for argument, size in sizes.items():
        if size < 1:
            raise UserError(f"{backbone}: {argument} must be positive", expected=">= 1", found=str(size))


def mixer_layer(mixer: MixerFactory, dim: int, backbone: str, *, causal: bool = False) -> nn.Module:
    """Build the mixer of one layer, behind a ScaleNorm unless it normalises its input itself.

    Raises:
        UserError: the mixer needs a grid, or is not causal where it must be.
    """
    built = require(mixer(dim), backbone, needs_grid=False)
    if causal:
        require(built, f"{backbone}(causal=True)", causal=True)
    return built if built.normalizes_input else nn.Sequential(ScaleNorm(dim), built)


def _sinusoids(length: int, dim: int, device: torch.device) -> torch.Tensor:
    """Return ``cat(sin(t f), cos(t f))`` ``[length, dim]`` in fp32 with ``f_i = 10000 ** (-2 i / dim)``."""
    # rounded as in the published networks: far out in a long recording the last bit of a frequency shows in the angle
    inverse = 1.0 / 10_000.0 ** (torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * inverse
    return torch.cat((angle.sin(), angle.cos()), -1)
