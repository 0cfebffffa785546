"""Networks that map a mixture ``[B, T]`` to its sources ``[B, S, T]``."""

from tasks.speech.models.mossformer import MossFormer

__all__ = ["MossFormer"]
