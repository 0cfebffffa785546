"""The rows of a table by their dates: which of them stand beside each other, and which are repetitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.timeseries.reading.axis import Axis
from tasks.timeseries.reading.source import Source

ROUGHLY = 0.05  # so many rows may repeat another where the name of a column says that it tells series apart
_STACKED = 1.5  # rows for each date from which they can't be repetitions of one series
SERIES = 3  # rows that make a series, for a frequency needs as many
_BESIDE = 0.25  # share of the rows beside the longest series whose dates another has too


@dataclass(frozen=True)
class Rows:
    """The rows of a table by their dates.

    Attributes:
        source: the table.
        axis: its time axis.
        times: ``[R]``, the place of each date among the different ones.
        days: number of different dates.
    """

    source: Source
    axis: Axis
    times: np.ndarray
    days: int

    @classmethod
    def of(cls, source: Source, axis: Axis) -> Rows:
        """Number the dates."""
        times, days = pd.factorize(axis.dates, sort=True)
        return cls(source, axis, times, len(days))

    @property
    def extra(self) -> int:
        """Number of rows whose date another row has already."""
        return len(self.times) - self.days

    @property
    def stacked(self) -> bool:
        """Whether so many rows come to a date that they can't be repetitions of one series."""
        return len(self.times) > _STACKED * self.days

    def repeated(self, *names: str) -> float:
        """Share of rows whose date has come already in the series that columns tell apart."""
        return 1 - len(pd.unique(self.places(*names))) / len(self.times)

    def mixed(self, name: str) -> bool:
        """Whether most dates of the series that a column tells apart have several rows that differ."""
        if self.repeated(name) <= 1 - 1 / _STACKED:  # no more than half of them can have two
            return False
        places = self.places(name)[~self.source.frame.duplicated().to_numpy()]
        counts = np.unique(places, return_counts=True)[1]
        return bool((counts > 1).mean() > 0.5)

    def several(self, name: str) -> bool:
        """Whether a column has several values, and not one for nearly each row."""
        return 1 < self.source.frame[name].nunique() <= max(2, len(self.times) // 2)

    def beside(self, name: str) -> bool:
        """Whether the groups of a column are series of one time, each evenly spaced, and no states of one series."""
        codes = self.source.as_text(name)[1]
        sizes = np.bincount(codes)
        others = len(codes) - sizes.max()
        if self.extra < _BESIDE * others:
            return False
        order = np.lexsort((self.times, codes))
        group, steps = codes[order], np.diff(self.times[order])
        inside = np.diff(group) == 0
        counts = pd.DataFrame({"group": group[1:][inside], "step": steps[inside]}).value_counts().groupby(level="group")
        even = (counts.max() > counts.sum() / 2) & (counts.sum() >= SERIES - 1)
        series = sizes[even.index[even].to_numpy()].sum() - sizes.max() * even.get(sizes.argmax(), False)
        return bool(series > 0.5 * others)

    def places(self, *names: str) -> np.ndarray:
        """Return a number for each pair of date and series."""
        places, count = self.times.astype(np.int64), self.days
        for name in names:
            codes = self.source.as_text(name)[1].astype(np.int64)
            places = codes * count + places
            if len(names) > 1:  # the product of all counts may not fit
                places, pairs = pd.factorize(places)
                count = len(pairs)
        return places
