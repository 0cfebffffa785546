"""What everything that forecasts has in common, and the rows around an origin."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from tasks.timeseries.dates import season_of
from tasks.timeseries.table import Table

_MAX_INPUT = 512
_MIN_INPUT = 8


class Origins(NamedTuple):
    """Where forecasts begin: each sees the rows of its group before ``row`` and no other.

    Attributes:
        group: ``[K]``, index of the group.
        row: ``[K]``, the first row that is forecast, counted in the group; its length stands for the real future.
    """

    group: np.ndarray
    row: np.ndarray

    @classmethod
    def at_the_end(cls, table: Table) -> Origins:
        """Return one origin a group, after its last row."""
        return cls(np.arange(len(table.ids)), table.lengths)

    def chosen(self, index: np.ndarray | slice) -> Origins:
        """Return some of the origins."""
        return Origins(self.group[index], self.row[index])


class Method(Protocol):
    """Anything that forecasts.

    Attributes:
        name: as the leaderboard shows it.
    """

    name: str

    def fit(self, table: Table, horizon: int, train: np.ndarray) -> None:
        """Learn from the first ``train [G]`` rows of each group, and from no other."""
        ...

    def predict(self, table: Table, horizon: int, origins: Origins) -> np.ndarray:
        """Return the forecasts ``[K, horizon, N]`` in the units of the table; NaN for a series without a past."""
        ...


def season_length(table: Table) -> int:
    """Return the steps of a season: a day, a week or a year, as the frequency suggests; 1 where it suggests none."""
    return season_of(table.frequency)


def default_input_size(table: Table, horizon: int, train: np.ndarray) -> int:
    """Return how many steps to look back: two seasons or two horizons, as far as the longest group goes."""
    wanted = max(2 * season_length(table), 2 * horizon, 4 * _MIN_INPUT)
    room = int(np.max(train)) - horizon - _MIN_INPUT + 1
    return max(_MIN_INPUT, min(wanted, _MAX_INPUT, room * 2 // 3))


def rows_in_group(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each row of a table, and its place in that group."""
    group = np.repeat(np.arange(len(table.lengths)), table.lengths)
    return group, np.arange(len(group)) - table.offsets[group]


def last_seen(table: Table, every: int = 1) -> np.ndarray:
    """Return the targets ``[rows, N]``, each gap filled by the value ``every`` rows before it in its group."""
    seen = table.values[table.columns].to_numpy(dtype=np.float64, copy=True)
    for groups, part in table.parts():
        values = part.values[part.columns]
        if values.isna().any(axis=None):
            group, row = rows_in_group(part)
            filled = values.groupby([group, row % every]).ffill()
            seen[table.offsets[groups.start] : table.offsets[groups.stop]] = filled
    return seen


def take(values: np.ndarray, table: Table, origins: Origins, steps: np.ndarray) -> np.ndarray:
    """Return the rows at ``steps`` from each origin, ``[K, len(steps), N]``; NaN where its group has no such row.

    Args:
        values: ``[rows, N]``, one row for each of the table.
        table: tells where its groups lie.
        origins: where to begin.
        steps: ``[S]`` for all, or ``[K, S]``; negative before the origin.
    """
    row = origins.row[:, None] + np.broadcast_to(steps, (len(origins.row), np.shape(steps)[-1]))
    inside = (row >= 0) & (row < table.lengths[origins.group][:, None])
    taken = values[np.where(inside, table.offsets[origins.group][:, None] + row, 0)]
    return np.where(inside[..., None], taken, np.nan)


def past_of(table: Table, origins: Origins, length: int) -> np.ndarray:
    """Return the ``length`` rows before each origin, ``[K, length, N]``, without gaps.

    A gap repeats the value before it, rows before the first value repeat that; NaN for a series without a past.
    """
    past = take(last_seen(table), table, origins, np.arange(-length, 0))
    first = np.argmax(~np.isnan(past), axis=1, keepdims=True)
    return np.where(np.isnan(past), np.take_along_axis(past, first, axis=1), past)


def truth_of(table: Table, origins: Origins, horizon: int) -> np.ndarray:
    """Return what followed each origin, ``[K, horizon, N]``.

    NaN where the value is missing or still to come, and for series of which nothing was seen before the origin.
    """
    values = table.values[table.columns].to_numpy(dtype=np.float64)
    seen = ~np.isnan(take(last_seen(table), table, origins, np.array([-1])))
    return np.where(seen, take(values, table, origins, np.arange(horizon)), np.nan)


def seasonal_scale(table: Table, rows: np.ndarray, season: int) -> np.ndarray:
    """Return the mean absolute seasonal difference over the first ``rows [G]`` of each group, ``[G, N]``.

    It is the denominator of MASE. Where no two values lie a season apart, the difference from row to row stands in;
    NaN for a series with fewer than two values, and where no value ever changed.
    """
    return np.concatenate([_seasonal_scale(part, rows[groups], season) for groups, part in table.parts()])


def _seasonal_scale(table: Table, rows: np.ndarray, season: int) -> np.ndarray:
    group, row = rows_in_group(table)
    values = table.values[table.columns].where(pd.Series(row < rows[group], index=table.values.index), np.nan)

    def mean_difference(lag: int) -> np.ndarray:
        change = (values - values.groupby(group).shift(lag)).abs()
        return change.groupby(group).mean().reindex(np.arange(len(table.lengths))).to_numpy()

    scale = mean_difference(season)
    scale = np.where(np.isnan(scale), mean_difference(1), scale) if season > 1 else scale
    return np.where(scale > 0, scale, np.nan)
