"""The date column: which one it is, how its dates are written, and how far apart they are."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from gated.errors import UserError, did_you_mean

_NAMES = ("date", "datetime", "timestamp", "time", "ds", "day", "week", "month", "datum", "period")
_DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y-%m", "%Y/%m", "%Y"),
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%m/%Y", "%m.%Y"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %Y", "%B %Y"),
)
_TIMES = ("", " %H:%M:%S", " %H:%M", "T%H:%M:%S", "T%H:%M")
_SEASONS = {"min": 60, "h": 24, "D": 7, "B": 5, "W": 52, "MS": 12, "ME": 12, "BMS": 12, "BME": 12, "QS": 4, "QE": 4}


@dataclass(frozen=True)
class DateFormat:
    """How dates are written: a ``strftime`` pattern, and whether days and months keep a leading zero."""

    pattern: str
    padded: bool = True

    def write(self, dates: pd.DatetimeIndex) -> list[str]:
        """Return the dates as text."""
        text = [str(date) for date in dates.strftime(self.pattern)]
        return text if self.padded else [re.sub(r"(?<!\d)0(\d)", r"\1", cell) for cell in text]


def find_date_column(cells: pd.DataFrame, wanted: str | None) -> str:
    """Return the name of the date column: ``wanted``, else by name, else the first whose text reads as dates.

    Raises:
        UserError: there is no such column, or none holds dates.
    """
    names = [str(name) for name in cells.columns]
    if wanted is not None:
        if wanted not in names:
            raise UserError(
                f"no column {wanted!r}", expected="the name of the date column", hint=did_you_mean(wanted, names)
            )
        return wanted
    by_name = [name for name in names if name.lower() in _NAMES]
    by_content = [name for name in names if not _numeric(cells[name].iloc[0])]
    for name in [*sorted(by_name, key=lambda n: _NAMES.index(n.lower())), *by_content]:
        if _patterns(cells[name]):
            return name
    raise UserError(
        "no date column found",
        expected="a column of dates, such as 2024-01-31 or 31.01.2024 14:00",
        found="the columns " + ", ".join(map(repr, names[:8])),
        hint="name it with --date-column",
    )


def parse_dates(cells: pd.Series) -> tuple[pd.DatetimeIndex, DateFormat]:
    """Parse a column of text; the format is decided over the whole column.

    Where day and month could be either way round, the reading that makes the spacing regular is taken.

    Raises:
        UserError: a cell is no date in the format of the others, or the format is not known.
    """
    text = cells.str.strip()
    patterns = _patterns(cells)
    parsed = {p: dates for p in patterns if (dates := pd.to_datetime(text, format=p, errors="coerce")).notna().all()}
    if parsed:
        pattern = next((p for p, d in parsed.items() if _spacing(pd.DatetimeIndex(d))), next(iter(parsed)))
        dates = pd.DatetimeIndex(parsed[pattern])
        unpadded = DateFormat(pattern, padded=False)
        as_is = unpadded.write(dates) == text.tolist() != DateFormat(pattern).write(dates)
        return dates, unpadded if as_is else DateFormat(pattern)
    if not patterns:
        raise UserError(
            f"column {cells.name!r} does not hold dates that can be read",
            expected="dates such as 2024-01-31, 31.01.2024 or 2024-01-31 14:00, without a time zone",
            found=f"{cells.iloc[0]!r} in line {cells.index[0]}",
            hint="choose another column with --date-column",
        )
    bad = min((pd.to_datetime(text, format=p, errors="coerce").isna() for p in patterns), key=lambda b: int(b.sum()))
    line = bad.idxmax()
    raise UserError(
        f"column {cells.name!r} has a date that can't be read",
        expected=f"dates written like {cells.iloc[0]!r}",
        found=f"{cells[line]!r} in line {line}" + (f", and {bad.sum() - 1} more" if bad.sum() > 1 else ""),
        hint="mend or remove the line",
    )


def infer_frequency(dates: pd.DatetimeIndex, places: Sequence[str], form: DateFormat) -> str:
    """Return the pandas frequency of dates that must be in order, without gap or repetition.

    Args:
        dates: the parsed dates, one a row.
        places: where each row is, such as ``"line 5"``.
        form: how to write a date in a message.

    Raises:
        UserError: naming the line and the date that breaks the regular spacing.
    """

    def at(row: int) -> str:
        return f"{form.write(dates[row : row + 1])[0]} in {places[row]}"

    if len(dates) < 3:
        raise UserError("too few rows to tell the frequency", expected="at least 3 dates", found=str(len(dates)))
    step = dates[1:] - dates[:-1]
    for row in range(len(step)):
        if step[row] == pd.Timedelta(0):
            raise UserError(
                "a date comes twice",
                expected="one row for each date",
                found=at(row + 1),
                hint="remove or merge the rows",
            )
        if step[row] < pd.Timedelta(0):
            duplicate = "comes again" if dates[row + 1] in dates[: row + 1] else "comes too late"
            raise UserError(
                "the rows are not in order of time",
                expected="each date once, oldest first",
                found=f"{at(row + 1)} {duplicate}, after {at(row)}",
                hint="sort the file by date and keep one row for each",
            )
    frequency = _spacing(dates)
    if frequency is not None:
        return frequency
    gaps = []
    for candidate in _local_spacings(dates):
        grid = pd.date_range(dates[0], dates[-1], freq=candidate)
        if dates.isin(grid).all():
            gaps.append((grid.difference(dates), candidate))
    if gaps:
        missing, candidate = min(gaps, key=lambda gap: len(gap[0]))
        row = int(dates.searchsorted(missing[0]))
        raise UserError(
            f"{len(missing)} row{'s are' if len(missing) > 1 else ' is'} missing",
            expected=f"one row for each step of {candidate!r}",
            found=f"no row for {form.write(missing[:1])[0]}, before {at(row)}",
            hint="add a row with empty cells for each missing date: short gaps are interpolated",
        )
    usual = step.to_series().mode().iloc[0]
    row = int((step != usual).argmax())
    raise UserError(
        "the dates are not evenly spaced",
        expected=f"one row every {usual}",
        found=f"{step[row]} before {at(row + 1)}",
        hint="resample the series to a regular step first",
    )


def season_of(frequency: str) -> int:
    """Return the number of steps in the season that a frequency suggests (a day, a week, a year), or 1."""
    match = re.fullmatch(r"(\d*)([A-Za-z]+)(-.+)?", frequency)
    if match is None:
        return 1
    multiple, unit = int(match[1] or 1), match[2]
    if unit == "min" and multiple > 1:  # 15min: a day, not an hour
        return max(1, 1440 // multiple)
    return max(1, _SEASONS.get(unit, 1) // multiple)


def _numeric(cell: str) -> bool:
    return re.fullmatch(r"\s*[+-]?[\d.,]+([eE][+-]?\d+)?\s*", cell) is not None and cell.count(".") < 2


def _patterns(cells: pd.Series) -> list[str]:
    """Return the patterns in which the first date can be read."""
    first = cells.iloc[0].strip()
    return [day + time for day in _DAYS for time in _TIMES if _fits(first, day + time)]


def _fits(text: str, pattern: str) -> bool:
    try:
        datetime.strptime(text, pattern)
    except ValueError:
        return False
    return True


def _local_spacings(dates: pd.DatetimeIndex) -> list[str]:
    """Return the frequencies that stretches of the dates have, the most common ones of longer and shorter stretches."""
    found: dict[str, None] = {}
    for length in (6, 3):
        starts = range(0, len(dates) - length + 1, max(1, len(dates) // 300))
        pieces = Counter(f for row in starts if (f := _spacing(dates[row : row + length])))
        found |= dict.fromkeys(candidate for candidate, _ in pieces.most_common(2))
    return list(found)


def _spacing(dates: pd.DatetimeIndex) -> str | None:
    """Return the frequency of evenly spaced ascending dates, or None."""
    if len(dates) < 3 or not dates.is_monotonic_increasing or not dates.is_unique:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 4 will return an offset, pandas 3 says so
        frequency = pd.infer_freq(dates)
    return None if frequency is None else getattr(frequency, "freqstr", str(frequency))
