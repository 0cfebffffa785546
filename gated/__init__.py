"""Gated attention for images, voices and time series.

Importing this package imports no torch: every public name is looked up when it is first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "convert_weights": "gated.engine.convert",
    "create_model": "gated.registry",
    "forecast": "tasks.timeseries.predict",
    "list_models": "gated.registry",
    "load": "gated.engine.checkpoint",
    "separate": "tasks.speech.infer",
}

__all__ = ["__version__", "convert_weights", "create_model", "forecast", "list_models", "load", "separate"]

if TYPE_CHECKING:
    from gated.engine.checkpoint import load
    from gated.engine.convert import convert_weights
    from gated.registry import create_model, list_models
    from tasks.speech.infer import separate
    from tasks.timeseries.predict import forecast


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gated' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
