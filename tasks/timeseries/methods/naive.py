"""The forecasts that need no training: the last value, and the last season."""

from __future__ import annotations

import numpy as np

from tasks.timeseries.methods.base import Origins, last_seen, take
from tasks.timeseries.table import Table


class SeasonalNaive:
    """Repeats the last season; with a season of 1 the last value.

    A value that is missing is replaced by the one a season before it, and so on back; where there is none, by the last
    value of the series.

    Args:
        season: steps in a season.
    """

    def __init__(self, season: int = 1) -> None:
        self.season = season
        self.name = "repeat-last" if season == 1 else f"seasonal-naive ({season})"

    def fit(self, table: Table, horizon: int, train: np.ndarray) -> None:
        """Nothing to learn."""

    def predict(self, table: Table, horizon: int, origins: Origins) -> np.ndarray:
        """Return what was there a season ago, ``[K, horizon, N]``."""
        last = take(last_seen(table), table, origins, np.array([-1]))
        if self.season == 1:
            return np.repeat(last, horizon, axis=1)
        steps = np.arange(horizon) % self.season - self.season
        ago = take(last_seen(table, self.season), table, origins, steps)
        return np.where(np.isnan(ago), last, ago)
