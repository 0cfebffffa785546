"""MossFormer: time-domain separation of voices by masking a learned representation.

"MossFormer: Pushing the Performance Limit of Monaural Speech Separation using Gated Single-Head Transformer with
Convolution-Augmented Joint Self-Attentions", arXiv 2302.11824. Parameter for parameter the released v1 network:
``gated.convert_weights(..., "official/mossformer")`` loads its weights.
"""

from __future__ import annotations

from gated.core.mixers import MixerFactory, MossFormerAttention
from tasks.speech.models.masking import MaskingSeparator, mixer_layer


class MossFormer(MaskingSeparator):
    """Mixture ``[B, T]`` to ``num_speakers`` sources ``[B, S, T]``.

    Args:
        num_speakers: voices to separate.
        dim: channels ``D`` inside the masking network.
        depth: number of layers.
        encoder_dim: channels ``N`` of the learned representation.
        kernel_size: samples in a frame; frames advance by half of it.
        mixer: ``dim -> TokenMixer`` of every layer; one that does not normalise its input is put behind a ScaleNorm.
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
        super().__init__(
            num_speakers,
            dim,
            layer=lambda: mixer_layer(mixer, dim, "MossFormer", causal=causal),
            depth=depth,
            encoder_dim=encoder_dim,
            kernel_size=kernel_size,
            per_frame=causal,
        )
