"""Forecasting the columns of a CSV. Importing this package imports no torch: names are looked up when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Forecaster": "tasks.timeseries.forecast",
    "SeriesTable": "tasks.timeseries.data",
}

__all__ = ["Forecaster", "SeriesTable"]

if TYPE_CHECKING:
    from tasks.timeseries.data import SeriesTable
    from tasks.timeseries.forecast import Forecaster


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tasks.timeseries' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
