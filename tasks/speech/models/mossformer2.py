"""MossFormer2: MossFormer with a memory after every attention.

"MossFormer2: Combining Transformer and RNN-Free Recurrent Network for Enhanced Time-Domain Monaural Speech Separation",
arXiv 2312.11825. Parameter for parameter the released network: ``gated.convert_weights(..., "clearvoice/mossformer2")``
loads its weights.
"""

from __future__ import annotations

import torch
from torch import nn

from gated.core.mixers import MixerFactory, MossFormerAttention
from gated.core.nn.fsmn import GatedMemory
from tasks.speech.models.masking import MaskingSeparator, check_positive, mixer_layer


class MossFormer2(MaskingSeparator):
    """Mixture ``[B, T]`` to ``num_speakers`` sources ``[B, S, T]``; the memory needs the whole signal, so never causal.

    Args:
        num_speakers: voices to separate.
        dim: channels ``D`` inside the masking network.
        depth: number of layers, each a mixer and a memory.
        encoder_dim: channels ``N`` of the learned representation.
        kernel_size: samples in a frame; frames advance by half of it.
        mixer: ``dim -> TokenMixer`` of every layer; one that does not normalise its input is put behind a ScaleNorm.
        memory_dim: channels inside the memory.
        memory_order: frames that the first convolution of the memory sees on each side.
        memory_depth: convolutions of the memory.
        dropout: dropout inside the memory; the mixer has its own.

    Raises:
        UserError: a size is not positive, or the mixer does not fit.
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
        memory_dim: int = 256,
        memory_order: int = 20,
        memory_depth: int = 2,
        dropout: float = 0.1,
    ) -> None:
        check_positive("MossFormer2", memory_dim=memory_dim, memory_order=memory_order, memory_depth=memory_depth)
        memory = {"inner_dim": memory_dim, "order": memory_order, "depth": memory_depth, "dropout": dropout}
        super().__init__(
            num_speakers,
            dim,
            layer=lambda: _Layer(mixer_layer(mixer, dim, "MossFormer2"), GatedMemory(dim, **memory)),
            depth=depth,
            encoder_dim=encoder_dim,
            kernel_size=kernel_size,
            per_frame=False,
        )


class _Layer(nn.Module):
    """A mixer and then a memory, each with its own residual connection; returns the sum of both updates."""

    def __init__(self, mixer: nn.Module, memory: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer
        self.memory = memory

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        mixed = self.mixer(x_BTD)
        update: torch.Tensor = mixed + self.memory(x_BTD + mixed)
        return update
