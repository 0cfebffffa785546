"""Token mixers, ``[B, N, D] -> [B, N, D]``: any of them fits into any model of the suite by one line of YAML."""

from gated.core.mixers.base import Grid, MixerFactory, TokenMixer, require
from gated.core.mixers.mossformer import MossFormerAttention
from gated.core.mixers.softmax import SoftmaxAttention

__all__ = ["Grid", "MixerFactory", "MossFormerAttention", "SoftmaxAttention", "TokenMixer", "list_mixers", "require"]


def list_mixers() -> list[str]:
    """Return the names of all mixers in this package."""
    return [n for n in __all__ if isinstance(globals()[n], type) and issubclass(globals()[n], TokenMixer) and n != "TokenMixer"]
