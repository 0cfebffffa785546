"""The statistical methods of the forecasting competitions, one fit for each series and origin.

They come with the optional package statsforecast: ``pip install 'gated[stats]'``.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any, ClassVar

import numpy as np
from rich import get_console
from rich.progress import track

from tasks.timeseries.methods.base import Method, Origins, last_seen, season_length
from tasks.timeseries.methods.mean import Mean
from tasks.timeseries.table import Table

MAX_HISTORY = 500
"""Rows that a fit looks back: these methods weigh old values down, and their cost grows with every row."""
_MIN_HISTORY = 4
_HINT = "Theta, CES and AutoETS were not tried: pip install 'gated[stats]' adds them"


class Statistical:
    """A model of statsforecast, fitted anew at each origin to the values before it.

    A gap repeats the value before it. A series with too few values for the model repeats its last one.

    Args:
        progress: draw a bar over the fits.

    Attributes:
        weight: see :func:`weight`.
    """

    name: ClassVar[str]
    model: ClassVar[str]
    weight: ClassVar[float]

    def __init__(self, *, progress: bool = False) -> None:
        self.progress = progress

    def fit(self, table: Table, horizon: int, train: np.ndarray) -> None:
        """Nothing to learn ahead: :meth:`predict` fits."""

    def predict(self, table: Table, horizon: int, origins: Origins) -> np.ndarray:
        """Return the forecasts of ``K x N`` fits, ``[K, horizon, N]``."""
        from statsforecast import models

        build, season, values = getattr(models, self.model), season_length(table), last_seen(table)
        ahead = np.empty((len(origins.row), horizon, len(table.columns)))
        fits = track(
            list(zip(*origins, strict=True)),
            self.name,
            transient=True,
            disable=not (self.progress and get_console().is_terminal),
        )
        for index, (group, row) in enumerate(fits):
            stop = int(table.offsets[group] + row)
            past = values[stop - min(int(row), MAX_HISTORY) : stop]
            for column in range(past.shape[1]):
                known = past[~np.isnan(past[:, column]), column]
                ahead[index, :, column] = _forecast(build(season_length=season), known, horizon)
        return ahead


class Theta(Statistical):
    """The dynamic optimised Theta method, second to none of the simple ones in the M3 competition."""

    name, model, weight = "Theta", "DynamicOptimizedTheta", 0.08


class CES(Statistical):
    """Complex exponential smoothing: level and trend in one complex number, with or without a season."""

    name, model, weight = "CES", "AutoCES", 0.08


class AutoETS(Statistical):
    """Exponential smoothing; error, trend and season chosen by the corrected Akaike criterion."""

    name, model, weight = "AutoETS", "AutoETS", 1.0


def statistical_methods(*, progress: bool = False) -> tuple[list[Statistical], tuple[str, ...]]:
    """Return the statistical methods, the quickest first; none, and a note how to get them, without statsforecast."""
    if importlib.util.find_spec("statsforecast") is None:
        return [], (_HINT,)
    return [Theta(progress=progress), CES(progress=progress), AutoETS(progress=progress)], ()


def cost(table: Table, origins: Origins) -> int:
    """Return how many values the fits at some origins read in all: half a millisecond to two each for AutoETS."""
    return int(np.minimum(origins.row, MAX_HISTORY).sum()) * len(table.columns)


def weight(method: Method) -> float:
    """Return the time that a method takes for a value it reads at an origin, that of AutoETS being one."""
    return sum(map(weight, method.members)) if isinstance(method, Mean) else getattr(method, "weight", 0.0)


def _forecast(model: Any, known: np.ndarray, horizon: int) -> np.ndarray:
    """Return the forecast of one series; its last value where the model refuses it."""
    last = np.full(horizon, known[-1] if len(known) else np.nan)
    if len(known) < _MIN_HISTORY:
        return last
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # divisions by zero for constant series, whose forecast is right
            ahead = np.asarray(model.forecast(known, horizon)["mean"], dtype=np.float64)
    except Exception:  # the models raise whatever comes for series that are too short for them
        return last
    return np.where(np.isfinite(ahead), ahead, last)
