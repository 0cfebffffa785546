"""Networks that map a mixture ``[B, T]`` to its sources ``[B, S, T]``."""

from tasks.speech.models.mossformer import MossFormer
from tasks.speech.models.mossformer2 import MossFormer2

__all__ = ["MossFormer", "MossFormer2"]
