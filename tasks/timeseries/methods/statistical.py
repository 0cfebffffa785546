"""The statistical methods of the forecasting competitions, one fit for each series and origin.

They come with the optional package statsforecast: ``pip install 'gated[stats]'``.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any, ClassVar

import numpy as np

from tasks.timeseries.methods.base import Origins, last_seen, season_length
from tasks.timeseries.table import Table

MAX_HISTORY = 500
"""Rows that a fit looks back: these methods weigh old values down, and their cost grows with every row."""
_MIN_HISTORY = 4
_HINT = "AutoETS and Theta were not tried: pip install 'gated[stats]' adds them"


class Statistical:
    """A model of statsforecast, fitted anew at each origin to the values before it.

    A gap repeats the value before it. A series with too few values for the model repeats its last one.
    """

    name: ClassVar[str]
    model: ClassVar[str]

    def fit(self, table: Table, horizon: int, train: np.ndarray) -> None:
        """Nothing to learn ahead: :meth:`predict` fits."""

    def predict(self, table: Table, horizon: int, origins: Origins) -> np.ndarray:
        """Return the forecasts of ``K x N`` fits, ``[K, horizon, N]``."""
        from statsforecast import models

        build, season, values = getattr(models, self.model), season_length(table), last_seen(table)
        ahead = np.empty((len(origins.row), horizon, len(table.columns)))
        for index, (group, row) in enumerate(zip(*origins, strict=True)):
            stop = int(table.offsets[group] + row)
            past = values[stop - min(int(row), MAX_HISTORY) : stop]
            for column in range(past.shape[1]):
                known = past[~np.isnan(past[:, column]), column]
                ahead[index, :, column] = _forecast(build(season_length=season), known, horizon)
        return ahead


class AutoETS(Statistical):
    """Exponential smoothing; error, trend and season chosen by the corrected Akaike criterion."""

    name = model = "AutoETS"


class Theta(Statistical):
    """The dynamic optimised Theta method, second to none of the simple ones in the M3 competition."""

    name, model = "Theta", "DynamicOptimizedTheta"


def statistical_methods() -> tuple[list[Statistical], tuple[str, ...]]:
    """Return the statistical methods; none, and a note that says how to get them, where statsforecast is not there."""
    if importlib.util.find_spec("statsforecast") is None:
        return [], (_HINT,)
    return [Theta(), AutoETS()], ()


def cost(table: Table, origins: Origins) -> int:
    """Return how many values the fits at some origins read in all: about half a millisecond each for AutoETS."""
    return int(np.minimum(origins.row, MAX_HISTORY).sum()) * len(table.columns)


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
