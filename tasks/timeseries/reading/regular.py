"""Rows as they come, on a regular axis: sorted, each date once, a row of NaN for each that is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.timeseries.dates import DateFormat
from tasks.timeseries.reading.frequency import find_grid
from tasks.timeseries.reading.source import Source

_SHOWN = 3
_HOUR = 3_600_000_000  # in microseconds


@dataclass(frozen=True)
class Regular:
    """Rows without a missing step inside a group.

    Attributes:
        values: ``[T, C]`` float64.
        dates: ``[T]``.
        offsets: ``[G + 1]``, where the groups begin and end.
        frequency: pandas frequency, or the step of integers.
        notes: what was repaired.
        added: ``[T]``, which rows were missing; None if none was.
    """

    values: np.ndarray
    dates: pd.Index
    offsets: np.ndarray
    frequency: str | int
    notes: tuple[str, ...]
    added: np.ndarray | None = None


def regularise(
    values: np.ndarray,
    groups: np.ndarray,
    dates: pd.Index,
    source: Source,
    form: DateFormat,
    frequency: str | int | None = None,
) -> Regular:
    """Sort rows by group and date, merge those of one date and add those that are missing.

    Args:
        values: ``[R, C]``.
        groups: ``[R]``, 0 to G - 1, every one there.
        dates: ``[R]``.
        source: names the rows in a message.
        form: how dates are written in a message.
        frequency: what the user says it is; inferred where not given.

    Raises:
        UserError: see :func:`tasks.timeseries.reading.frequency.find_grid`.
    """
    notes = []
    times = dates.asi8 if isinstance(dates, pd.DatetimeIndex) else dates.to_numpy()
    order = np.arange(len(times))
    if not _in_order(groups, times):
        order = np.lexsort((times, groups))
        late = np.flatnonzero((np.diff(order) < 0) & (np.diff(groups[order]) == 0))
        if len(late):
            places = source.at(sorted(order[late + 1].tolist()))
            notes.append(f"the rows were not in order of time: sorted ({places})")
        values, groups, times, dates = values[order], groups[order], times[order], dates[order]
    repeated = np.concatenate([[False], (np.diff(groups) == 0) & (np.diff(times) == 0)])
    doubled = dates[:0]
    if repeated.any():
        values, keep, doubled, said = _merged(values, repeated, dates, order, source)
        notes += said
        values, groups, dates, order = values[keep], groups[keep], dates[keep], order[keep]
    offsets = np.concatenate([np.flatnonzero(np.diff(groups, prepend=-1)), [len(groups)]])
    grid = find_grid(dates, offsets, lambda row: source.at([order[row]]), form, frequency)
    lengths = grid.positions[offsets[1:] - 1] + 1
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = starts[groups] + grid.positions
    added, absent = dates[:0], None
    if starts[-1] > len(dates):
        absent = np.ones(starts[-1], bool)
        absent[rows] = False
        filled = np.full((starts[-1], values.shape[1]), np.nan)
        filled[rows] = values
        values = filled
        group = np.repeat(np.arange(len(lengths)), lengths)
        dates = grid.dates(group, np.arange(starts[-1]) - starts[group])
        added = dates[absent]
        several = f" in {len(np.unique(group[absent]))} series" if len(lengths) > 1 else ""
        notes.append(f"{len(added)} missing row(s){several} added without values ({_named(added, form)})")
    notes += _clock_changes(doubled, added, grid.frequency, form)
    return Regular(values, dates, starts, grid.frequency, tuple(notes), absent)


def _in_order(groups: np.ndarray, times: np.ndarray) -> bool:
    """Whether groups follow each other and times ascend in each."""
    same = groups[1:] == groups[:-1]
    return bool(((groups[1:] > groups[:-1]) | (same & (times[1:] >= times[:-1]))).all())


def _merged(
    values: np.ndarray, repeated: np.ndarray, dates: pd.Index, order: np.ndarray, source: Source
) -> tuple[np.ndarray, np.ndarray, pd.Index, list[str]]:
    """Merge rows of one date.

    Returns:
        the values with the mean of its rows in the first row of each date, which rows are first, the dates that had
        several different rows, and what was done.
    """
    keep = ~repeated
    involved = repeated | np.append(repeated[1:], False)
    run = np.cumsum(keep)[involved]
    pieces = pd.DataFrame(values[involved]).groupby(run)
    size, count = pieces.size().to_numpy()[:, None], pieces.count().to_numpy()
    same = (((pieces.max() == pieces.min()).to_numpy() & (count == size)) | (count == 0)).all(axis=1)
    firsts = np.flatnonzero(involved & keep)
    merged = values.copy()
    merged[firsts[~same]] = pieces.mean().to_numpy()[~same]  # the mean of equal numbers may differ in the last digit
    again = np.flatnonzero(repeated)
    is_same = same[np.searchsorted(firsts, again, side="right") - 1]
    notes = []
    if is_same.any():
        notes.append(f"{is_same.sum()} row(s) that repeat another left out ({source.at(order[again[is_same]])})")
    if not is_same.all():
        places = source.at(order[again[~is_same]])
        notes.append(f"{(~same).sum()} date(s) with several different rows averaged ({places})")
    return merged, keep, dates[firsts[~same]], notes


def _clock_changes(doubled: pd.Index, added: pd.Index, frequency: str | int, form: DateFormat) -> list[str]:
    """Say so where doubled and missing hours are those of daylight saving."""
    if not isinstance(doubled, pd.DatetimeIndex) or doubled.tz is not None:
        return []
    twice, never = (found[_at_clock_change(found)] for found in (doubled, added))
    if (len(twice) * 2 <= len(doubled) and len(never) * 2 <= len(added)) or not len(twice) + len(never):
        return []
    if isinstance(frequency, int) or not str(frequency).endswith(("h", "min")):
        return []
    return [
        "daylight saving: the dates are local time, "
        f"{len(twice)} of the doubled and {len(never)} of the missing ones lie where clocks are changed "
        f"({_named(twice.append(never), form)})"
    ]


def _at_clock_change(dates: pd.DatetimeIndex) -> np.ndarray:
    return np.asarray((dates.day_of_week == 6) & dates.month.isin([3, 4, 9, 10, 11]) & (dates.hour <= 3))


def _named(dates: pd.Index, form: DateFormat) -> str:
    return ", ".join(form.write(dates[:_SHOWN])) + (", ..." if len(dates) > _SHOWN else "")
