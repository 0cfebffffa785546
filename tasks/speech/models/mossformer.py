"""MossFormer: time-domain separation of voices by masking a learned representation.

"MossFormer: Pushing the Performance Limit of Monaural Speech Separation using Gated Single-Head Transformer with
Convolution-Augmented Joint Self-Attentions", arXiv 2302.11824. Parameter for parameter the released v1 network:
``gated.convert_weights(..., "official/mossformer")`` loads its weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.mixers import MixerFactory, MossFormerAttention, TokenMixer, require
from gated.core.nn.buildable import Buildable
from gated.core.nn.norm import ScaleNorm
from gated.errors import UserError


class MossFormer(Buildable):
    """Mixture ``[B, T]`` to ``num_speakers`` sources ``[B, S, T]``.

    Args:
        num_speakers: voices to separate.
        dim: channels ``D`` inside the masking network.
        depth: number of layers.
        encoder_dim: channels ``N`` of the learned representation.
        kernel_size: samples in a frame; frames advance by half of it.
        mixer: ``dim -> TokenMixer`` of every layer; a mixer that does not normalise its input is put behind a ScaleNorm.
        causal: no output frame depends on later frames: norms per frame instead of over the whole signal, and the mixer
            must be causal too. What remains is the latency of one frame.

    Raises:
        UserError: a size is not positive, or ``causal`` does not fit the mixer.
    """

    def __init__(
        self,
        num_speakers: int = 2,
        dim: int = 512,
        *,
        depth: int = 24,
        encoder_dim: int = 512,
        kernel_size: int = 16,
        mixer: MixerFactory = MossFormerAttention,
        causal: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"num_speakers": num_speakers, "dim": dim, "depth": depth, "encoder_dim": encoder_dim}
        for name, size in sizes.items():
            if size < 1:
                raise UserError(f"MossFormer: {name} must be positive", expected=">= 1", found=str(size))
        if kernel_size < 2 or kernel_size % 2 or dim % 2:
            raise UserError("MossFormer: kernel_size and dim must be even", found=f"kernel_size={kernel_size}, dim={dim}")
        self.num_speakers, self.kernel_size, self.stride = num_speakers, kernel_size, kernel_size // 2
        self.encoder = nn.Conv1d(1, encoder_dim, kernel_size, stride=self.stride, bias=False)
        self.norm_in = SequenceNorm(encoder_dim, per_frame=causal)
        self.project_in = nn.Linear(encoder_dim, dim, bias=False)
        self.position_scale = nn.Parameter(torch.ones(1))
        self.layers = nn.ModuleList(_layer(mixer, dim, causal) for _ in range(depth))
        self.norm_out = nn.LayerNorm(dim, eps=1e-6)
        self.norm_skip = SequenceNorm(dim, per_frame=causal)
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
            raise UserError("MossFormer: the mixture has the wrong shape", expected="[B, T]", found=str(list(mixture_BT.shape)))
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


class SequenceNorm(nn.Module):
    """LayerNorm over all frames and channels of one signal, or over the channels of each frame; ``[B, T, C]``."""

    def __init__(self, dim: int, *, per_frame: bool, eps: float = 1e-8) -> None:
        super().__init__()
        self.axes = (2,) if per_frame else (1, 2)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """Normalise in fp32 or better."""
        wide = x_BTC.to(torch.promote_types(x_BTC.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, self.axes, correction=0, keepdim=True)
        return ((wide - mean) * torch.rsqrt(variance + self.eps)).to(x_BTC.dtype) * self.weight + self.bias


def _layer(mixer: MixerFactory, dim: int, causal: bool) -> nn.Module:
    built: TokenMixer = require(mixer(dim), "MossFormer", needs_grid=False)
    if causal:
        require(built, "MossFormer(causal=True)", causal=True)
    return built if built.normalizes_input else nn.Sequential(ScaleNorm(dim), built)


def _sinusoids(length: int, dim: int, device: torch.device) -> torch.Tensor:
    """Return ``cat(sin(t f), cos(t f))`` ``[length, dim]`` in fp32 with ``f_i = 10000 ** (-2 i / dim)``."""
    inverse = 10_000.0 ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * inverse
    return torch.cat((angle.sin(), angle.cos()), -1)
