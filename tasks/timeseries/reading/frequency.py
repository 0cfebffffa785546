"""How far apart the rows are: the grid that all dates lie on with the fewest gaps."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from gated.errors import UserError
from tasks.timeseries.dates import DateFormat, follows_wall_clock, localised, step_length, wall_clock

_WINDOWS = 100  # stretches of dates that are looked at
_DAY = 86_400_000_000  # in microseconds
_WEEK = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_OLD_NAMES = {"T": "min", "H": "h", "S": "s", "L": "ms"}
_VARIANTS = {
    "W": tuple(f"W-{day}" for day in _WEEK),
    "M": ("MS", "ME", "BMS", "BME"),
    "Q": tuple(f"{unit}-{month}" for unit in ("QS", "QE", "BQS", "BQE") for month in _MONTHS),
    "Y": tuple(f"{unit}-{month}" for unit in ("YS", "YE", "BYS", "BYE") for month in _MONTHS),
}
_VARIANTS |= {"A": _VARIANTS["Y"], "QS": _VARIANTS["Q"][:12], "QE": _VARIANTS["Q"][12:24]}
_VARIANTS |= {"YS": _VARIANTS["Y"][:12], "YE": _VARIANTS["Y"][12:24], "ME": ("ME",), "MS": ("MS",)}


@dataclass(frozen=True)
class Grid:
    """Where each row lies on a regular axis.

    Attributes:
        frequency: pandas frequency, or the step of integers.
        positions: ``[R]``, steps since the first row of its group.
        off: ``[R]``, which rows lie between two steps.
        dates: from (group, position) of rows to their dates.
    """

    frequency: str | int
    positions: np.ndarray
    off: np.ndarray
    dates: Callable[[np.ndarray, np.ndarray], pd.Index]

    def missing(self, ends: np.ndarray) -> int:
        """Number of steps without a row; ``ends [G]`` are the last rows of the groups."""
        return int((self.positions[ends] + 1).sum()) - len(self.positions)


def find_grid(
    dates: pd.Index,
    offsets: np.ndarray,
    place: Callable[[int], str],
    form: DateFormat,
    frequency: str | int | None = None,
) -> Grid:
    """Find the frequency and the place of every row.

    Args:
        dates: ``[R]``, ascending and different within each group.
        offsets: ``[G + 1]``, where the groups begin and end.
        place: names a row in a message.
        form: how dates are written.
        frequency: what the user says it is; the most plausible where not given.

    Raises:
        UserError: too few rows, an unknown frequency, a date between two steps, or more than half of the steps missing.
    """
    if frequency is None and len(dates.unique()) < 3:
        raise UserError(
            "too few rows to tell the frequency",
            expected="at least 3 dates",
            found=str(len(dates.unique())),
            hint="give more rows, or say it with --frequency",
        )
    ends = offsets[1:] - 1
    names = _candidates(dates, offsets) if frequency is None else _meant(dates, frequency)
    laid = (_lay(dates, offsets, name) for name in names)  # one at a time, each is as long as the table
    grid = min(laid, key=lambda g: (int(g.off.sum()), g.missing(ends)))
    if grid.off.any():
        row = int(grid.off.argmax())
        raise UserError(
            "the dates are not evenly spaced",
            expected=f"one row for each step of {grid.frequency!r}",
            found=f"{form.write(dates[[row]])[0]} in {place(row)} lies between two steps"
            + (f", and {int(grid.off.sum()) - 1} more" if grid.off.sum() > 1 else ""),
            hint="give the step with --frequency, mend these dates, or resample the series to a regular step first",
        )
    missing = grid.missing(ends)
    if missing > len(dates) * (1 if frequency is None else 9):
        steps = np.diff(grid.positions)
        steps[offsets[1:-1] - 1] = 0
        row = int(steps.argmax())
        raise UserError(
            f"{missing} rows are missing, more than there are",
            expected=f"one row for each step of {grid.frequency!r}",
            found=f"the longest gap lies between {' and '.join(form.write(dates[[row, row + 1]]))} in {place(row + 1)}",
            hint="if the step is another one say so with --frequency; mend the dates or cut off what is before the gap",
        )
    return grid


def _candidates(dates: pd.Index, offsets: np.ndarray) -> list[str | int]:
    """Return the frequencies of stretches of the dates, and the most common step."""
    if not isinstance(dates, pd.DatetimeIndex):
        return [_usual_step(dates.to_numpy(), offsets)]
    wall = wall_clock(dates)
    pooled = spacing(wall.unique().sort_values())
    if pooled and len(offsets) == 2:
        return [pooled]
    found: Counter[str] = Counter()
    for length in (6, 3):
        last = len(wall) - length
        for row in np.unique(np.linspace(0, max(last, 0), _WINDOWS).astype(int)):
            if name := spacing(wall[row : row + length]):
                found[name] += 1
    kept = [name for name, _ in found.most_common(8)]
    step = _usual_step(wall.asi8, offsets)
    fixed = to_offset(pd.Timedelta(step, "us")).freqstr
    if step % (7 * _DAY) == 0:
        fixed = f"{step // (7 * _DAY)}W-{_WEEK[wall[0].day_of_week]}".removeprefix("1W").replace("1W-", "W-")
        fixed = fixed if "W" in fixed else f"W{fixed}"
    return list(dict.fromkeys([*([pooled] if pooled else []), *kept, fixed]))


def _meant(dates: pd.Index, frequency: str | int) -> list[str | int]:
    """Return the frequencies that the user's may stand for: ``"W"`` is a week from any day."""
    if not isinstance(dates, pd.DatetimeIndex):
        if not str(frequency).isdecimal() or int(frequency) < 1:
            raise UserError("the axis counts in whole numbers", expected="a step such as 1", found=repr(frequency))
        return [int(frequency)]
    text = str(frequency).strip()
    digits = text[: len(text) - len(text.lstrip("0123456789"))]
    unit = _OLD_NAMES.get(text[len(digits) :], text[len(digits) :])
    names = [digits + variant for variant in _VARIANTS.get(unit, (unit,))]
    try:
        for name in names:
            if to_offset(name) is None or to_offset(name).n < 1:
                raise ValueError
    except (ValueError, TypeError):
        raise UserError(
            f"unknown frequency {frequency!r}",
            expected="a pandas frequency",
            hint="use one such as 15min, h, D, B (business days), W, MS (months), QS or YS",
        ) from None
    return list(names)


def _lay(dates: pd.Index, offsets: np.ndarray, frequency: str | int) -> Grid:
    """Lay dates on the grid of a frequency."""
    lengths = np.diff(offsets)
    if isinstance(frequency, int):
        times = dates.to_numpy()
        steps = times - np.repeat(times[offsets[:-1]], lengths)
        firsts = times[offsets[:-1]]
        return Grid(
            frequency,
            steps // frequency,
            steps % frequency != 0,
            lambda group, position: pd.Index(firsts[group] + position * frequency, dtype="int64"),
        )
    step = step_length(frequency)
    shift = dates.tz is not None and follows_wall_clock(frequency)
    wall = wall_clock(dates) if shift or dates.tz is None else dates.tz_convert("UTC").tz_localize(None)

    def zoned(found: pd.DatetimeIndex) -> pd.DatetimeIndex:
        if shift:
            return localised(found, dates.tz)
        return found if dates.tz is None else found.tz_localize("UTC").tz_convert(dates.tz)

    times = wall.as_unit("us").asi8
    firsts = times[offsets[:-1]]
    if step is not None:
        steps = times - np.repeat(firsts, lengths)
        off = steps % step != 0
        if frequency.lstrip("0123456789").startswith("W-"):
            off |= wall.day_of_week != to_offset(frequency).weekday
        return Grid(
            frequency,
            steps // step,
            off,
            lambda group, position: zoned(pd.DatetimeIndex((firsts[group] + position * step).astype("datetime64[us]"))),
        )
    axis = pd.date_range(wall.min(), wall.max(), freq=frequency).as_unit("us")
    places = np.minimum(axis.asi8.searchsorted(times), max(len(axis) - 1, 0))
    off = axis.asi8[places] != times if len(axis) else np.ones(len(times), bool)
    starts = places[offsets[:-1]]
    return Grid(
        frequency,
        places - np.repeat(starts, lengths),
        off,
        lambda group, position: zoned(axis[starts[group] + position]),
    )


def _usual_step(times: np.ndarray, offsets: np.ndarray) -> int:
    """Return the most common step within the groups; between all different times where no group has two rows."""
    steps = np.diff(times)
    steps = np.delete(steps, offsets[1:-1] - 1) if len(offsets) > 2 else steps
    steps = steps if len(steps) else np.diff(np.unique(times))
    sizes, counts = np.unique(steps, return_counts=True)
    return int(sizes[counts.argmax()])


def spacing(dates: pd.DatetimeIndex) -> str | None:
    """Return the frequency of evenly spaced ascending dates, or None."""
    if len(dates) < 3 or not dates.is_monotonic_increasing or not dates.is_unique:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 4 will return an offset, pandas 3 says so
        frequency = pd.infer_freq(dates)
    return None if frequency is None else _anchored(getattr(frequency, "freqstr", str(frequency)))


def _anchored(frequency: str) -> str:
    """Name a quarter by the first of its months that begin one, or by the last that end one: versions of pandas differ.

    >>> _anchored("QS-OCT"), _anchored("2BQE-MAR")
    ('QS-JAN', '2BQE-DEC')
    """
    unit, _, month = frequency.partition("-")
    if unit.lstrip("0123456789") not in ("QS", "QE", "BQS", "BQE"):
        return frequency
    return f"{unit}-{_MONTHS[_MONTHS.index(month) % 3 + (9 if unit.endswith('E') else 0)]}"
