"""Token mixers, ``[B, N, D] -> [B, N, D]``: any of them fits into any model of the suite by one line of YAML."""

from gated.core.mixers.base import Grid, MixerFactory, TokenMixer, require
from gated.core.mixers.fox import ForgettingAttention
from gated.core.mixers.gated_conv import GatedConv
from gated.core.mixers.gated_delta import GatedDeltaNet
from gated.core.mixers.gau import GatedAttentionUnit
from gated.core.mixers.gla import GatedLinearAttention
from gated.core.mixers.gpsa import GPSA
from gated.core.mixers.mossformer import MossFormerAttention
from gated.core.mixers.softmax import SoftmaxAttention

__all__ = [
    "GPSA",
    "ForgettingAttention",
    "GatedAttentionUnit",
    "GatedConv",
    "GatedDeltaNet",
    "GatedLinearAttention",
    "Grid",
    "MixerFactory",
    "MossFormerAttention",
    "SoftmaxAttention",
    "TokenMixer",
    "list_mixers",
    "require",
]


def list_mixers() -> list[str]:
    """Return the names of all mixers in this package."""
    public = {name: globals()[name] for name in __all__}
    return [n for n, c in public.items() if isinstance(c, type) and issubclass(c, TokenMixer) and c is not TokenMixer]
