"""A table of series: the contract between what reads tables and what learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from tasks.timeseries.dates import DateFormat, follows_wall_clock, localised, wall_clock


@dataclass(frozen=True)
class Layout:
    """How a table was written, so that a forecast can be written alike.

    Attributes:
        date_column: its name; None for a frame whose index holds the dates.
        date_format: how its dates are written.
        delimiter: between cells.
        decimal: the decimal sign.
        columns: all columns that are kept, in the order of the file, the date column among them.
        decimals: column -> digits after the decimal sign in a forecast.
        id_column: name of the column that tells series apart in long layout; None in wide layout.
        time_column: name of a column of its own for the time of day; None where it stands beside the date.
        encoding: of the file.
    """

    date_column: str | None
    date_format: DateFormat
    delimiter: str = ","
    decimal: str = "."
    columns: tuple[str, ...] = ()
    decimals: dict[str, int] = field(default_factory=dict)
    id_column: str | None = None
    time_column: str | None = None
    encoding: str = "utf-8"


@dataclass(frozen=True)
class Table:
    """One or many groups of series, each group on its own stretch of one regular time axis.

    A CSV in wide layout is one group whose columns are the series; in long layout every id is a group. All groups have
    the same columns.

    Attributes:
        values: float64, the rows of one group after those of another, oldest first, without a missing step inside a
            group; NaN where a value is missing. Its index holds the dates (or the integers) of the rows, its columns
            are the targets, then ``past``, then ``future``.
        frequency: pandas frequency of the dates, or the step of an integer axis.
        layout: how the table was written.
        notes: what was repaired on the way in, a sentence each.
        ids: name of each group, ``("",)`` in wide layout.
        offsets: ``[G + 1]``, the rows at which the groups begin and end.
        past: columns that are looked at and not forecast.
        future: columns that are known ahead as well.
        ahead: ``[G, K, F]``, the values of ``future`` in the ``K`` steps that follow each group; None without any.
        static: ``[G, S]``, a row of numbers for each group; None without any.
    """

    values: pd.DataFrame
    frequency: str | int
    layout: Layout
    notes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ("",)
    offsets: np.ndarray | None = None
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    ahead: np.ndarray | None = None
    static: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        """One group unless told."""
        if self.offsets is None:
            object.__setattr__(self, "offsets", np.array([0, len(self.values)]))

    @property
    def columns(self) -> list[str]:
        """Names of the series that are forecast."""
        covariates = {*self.past, *self.future}
        return [str(name) for name in self.values.columns if name not in covariates]

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each group, ``[G]``."""
        return np.diff(self.offsets)

    def group(self, index: int) -> pd.DataFrame:
        """Return the rows of one group."""
        return self.values.iloc[self.offsets[index] : self.offsets[index + 1]]

    def parts(self, rows: int = 2**20) -> Iterator[tuple[slice, Table]]:
        """Yield runs of groups of about ``rows`` rows, and the table of each: work on the whole fits beside it then."""
        start = 0
        while start < len(self.ids):
            stop = int(np.searchsorted(self.offsets, self.offsets[start] + rows, side="right")) - 1
            groups = slice(start, max(start + 1, stop))
            offsets = self.offsets[start : groups.stop + 1]
            yield (
                groups,
                replace(
                    self,
                    values=self.values.iloc[offsets[0] : offsets[-1]],
                    ids=self.ids[groups],
                    offsets=offsets - offsets[0],
                    ahead=None if self.ahead is None else self.ahead[groups],
                    static=None if self.static is None else self.static.iloc[groups],
                ),
            )
            start = groups.stop

    def future_dates(self, steps: int, group: int = 0) -> pd.Index:
        """Return the ``steps`` dates that follow the last row of a group."""
        last, name = self.values.index[self.offsets[group + 1] - 1], self.values.index.name
        if isinstance(self.frequency, int):
            return pd.RangeIndex(last + self.frequency, last + self.frequency * (steps + 1), self.frequency, name=name)
        if last.tz is None or not follows_wall_clock(self.frequency):
            return pd.date_range(last, periods=steps + 1, freq=self.frequency)[1:].rename(name)
        # three rows tell the time of day, whichever of them a change of clocks moved
        wall = wall_clock(self.group(group).index[-3:])[-1]
        ahead = pd.date_range(wall, periods=steps + 1, freq=self.frequency)[1:]
        return localised(ahead, last.tz).as_unit(last.unit).rename(name)
