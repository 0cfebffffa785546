"""The plain mean of several forecasts: simple, and hard to beat."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from tasks.timeseries.methods.base import Method, Origins
from tasks.timeseries.table import Table


class Mean:
    """Forecasts the mean of what its members forecast.

    Args:
        members: two or more methods.
    """

    def __init__(self, members: Sequence[Method]) -> None:
        self.members = tuple(members)
        *names, last = (member.name for member in self.members)
        self.name = f"mean of {', '.join(names)} and {last}"

    def fit(self, table: Table, horizon: int, train: np.ndarray) -> None:
        """Fit copies of the members, which may stand for themselves elsewhere."""
        self.members = tuple(map(copy.copy, self.members))
        for member in self.members:
            member.fit(table, horizon, train)

    def predict(self, table: Table, horizon: int, origins: Origins) -> np.ndarray:
        """Return the mean of the members' forecasts, ``[K, horizon, N]``."""
        return np.mean([member.predict(table, horizon, origins) for member in self.members], axis=0)
