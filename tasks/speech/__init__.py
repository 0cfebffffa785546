"""Separating the voices of a recording: MossFormer, its data, training and the ``gated speech`` command."""

from importlib import import_module
from typing import Any

_PUBLIC = {"Mixtures": "tasks.speech.data", "Separator": "tasks.speech.separate"}

__all__ = ["Mixtures", "Separator"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tasks.speech' has no attribute {name!r}")
