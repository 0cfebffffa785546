"""The time axis of a table: which column it is, and the date (or the integer) of every row."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gated.errors import UserError, did_you_mean
from tasks.timeseries.dates import DateFormat, localised
from tasks.timeseries.reading.date_text import CLOCK, MOST, Reading, choose, from_seconds, looks_like_dates, readings
from tasks.timeseries.reading.frequency import spacing
from tasks.timeseries.reading.source import Source, is_missing

_NAMES = (
    *("date", "datetime", "date_time", "timestamp", "time", "ds", "day", "week", "month", "quarter", "year"),
    *("datum", "fecha", "data", "jour", "period", "zeit", "zeitstempel", "t", "step", "index", "idx"),
)
_CLOCKS = ("time", "hour", "hr", "uhrzeit", "zeit", "heure", "hora", "ora")
_HOUR = "[01]?[0-9]|2[0-3]"
_LOOK = 60  # different texts of a column that are looked at to tell whether it holds dates


@dataclass(frozen=True)
class Axis:
    """The time axis.

    Attributes:
        column: its name; None if the dates were the index of a frame.
        dates: ``[R]`` dates, naive or in one zone, or integers.
        form: how they are written.
        time_column: name of a column of its own for the time of day.
        notes: how they were read, where it is not plain.
    """

    column: str | None
    dates: pd.Index
    form: DateFormat
    time_column: str | None = None
    notes: tuple[str, ...] = ()


def find_axis(source: Source, *, date_column: str | None = None, day_first: bool | None = None) -> Axis:
    """Find the date column by name or content and read it.

    Args:
        source: the table.
        date_column: its name where the user gives it.
        day_first: whether 01/02 is the first of February; found by looking where not given.

    Raises:
        UserError: there is no such column, none holds dates, or a date is missing, can't be read, or could be read two
            ways; naming the column and the lines.
    """
    name = _by_look(source) if date_column is None else _existing(source, date_column)
    if pd.api.types.is_datetime64_any_dtype(source.frame[name]):
        return _stamped(source, name)
    texts, codes = source.as_text(name)
    absent = np.flatnonzero(is_missing(texts)[codes])
    if len(absent):
        raise _absent(source, name, absent)
    clock = _clock_column(source, name, texts)
    if clock is not None:
        texts, codes = _joined(texts, codes, *source.as_text(clock))
    integers = _integers(texts)
    if integers is not None and not _years(texts):
        if texts.str.fullmatch("[0-9]{10}").all() and integers.min() >= 10**9:
            reading = from_seconds(texts)
            return Axis(name, reading.dates[codes], reading.form, notes=(f"column {name!r}: seconds since 1970",))
        return Axis(name, pd.Index(integers[codes], dtype="int64"), DateFormat(""))
    reading = _read(source, name, texts, codes, day_first)
    notes = tuple(f"column {name!r}: {note}" for note in reading.notes)
    if clock is not None:
        notes += (_together(name, clock),)
    return Axis(name, reading.dates[codes], reading.form, clock, notes)


def _stamped(source: Source, name: str) -> Axis:
    """Return the axis of a column of timestamps, or of one of days with the time of day in another column."""
    dates = pd.DatetimeIndex(source.frame[name]).as_unit("us")
    absent = np.flatnonzero(dates.isna())
    if len(absent):
        raise _absent(source, name, absent)
    wall = dates.tz_localize(None)
    if wall.equals(wall.normalize()):
        day, days = pd.factorize(wall)
        texts = pd.Series(days.strftime("%Y-%m-%d"), dtype=object)
        clock = _clock_column(source, name, texts)
        if clock is not None:
            texts, codes = _joined(texts, day, *source.as_text(clock))
            reading = _read(source, name, texts, codes, None)
            joined = localised(reading.dates[codes], dates.tz)
            return Axis(name, joined, reading.form, clock, (_together(name, clock),))
    return Axis(name, dates, DateFormat("%Y-%m-%d %H:%M:%S"))


def _together(date: str, clock: str) -> str:
    return f"columns {date!r} and {clock!r} are read together as date and time"


def _existing(source: Source, wanted: str) -> str:
    names = [str(name) for name in source.frame.columns]
    if wanted not in names:
        raise UserError(
            f"no column {wanted!r}", expected="the name of the date column", hint=did_you_mean(wanted, names)
        )
    return wanted


def _by_look(source: Source) -> str:
    """Return the column whose name and content say date, else content alone, else a column of integers named so."""
    names = list(source.frame.columns)
    stamps = [name for name in names if pd.api.types.is_datetime64_any_dtype(source.frame[name])]
    if stamps:
        return stamps[0]
    named = sorted((n for n in names if n.lower() in _NAMES), key=lambda n: _NAMES.index(n.lower()))
    named += [n for n in names if n not in named and re.search("date|time|datum", n.lower())]
    for name in named:
        if _dated(source, name, least=0.5):
            return name
    for name in names:
        if name not in named and source.is_text(name):
            head = source.texts(name).head(_LOOK)
            if _integers(head[~is_missing(head)]) is None and _dated(source, name):
                return name
    counted = [n for n in names if n in named or n == "column 1" or n.lower().startswith("unnamed: 0")]
    for name in counted:
        texts, _ = source.as_text(name)
        if len(texts) > 2 and _integers(texts) is not None:
            return name
    raise UserError(
        "no date column found",
        expected="a column of dates, such as 2024-01-31 or 31.01.2024 14:00",
        found="the columns " + ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else ""),
        hint="name it with --date-column",
    )


def _dated(source: Source, name: str, least: float = MOST) -> bool:
    texts, _ = source.as_text(name)
    texts = texts[~is_missing(texts)].head(_LOOK)
    return len(texts) > 0 and looks_like_dates(texts.reset_index(drop=True), least)


def _clock_column(source: Source, date: str, dates: pd.Series) -> str | None:
    """Return the column that holds the time of day of days that have none."""
    if dates.str.contains(":").any() or len(dates) == len(source.frame):
        return None
    forms = [reading.form.pattern for reading in readings(dates.head(_LOOK)) if reading.share >= MOST]
    if not any("%d" in form and "%H" not in form for form in forms):
        return None
    for name in source.frame.columns:
        named = name.lower() in _CLOCKS
        if name == date or not (source.is_text(name) or named):
            continue
        texts, _ = source.as_text(name)
        hours = named and texts.str.fullmatch(_HOUR).all()
        if not (hours or texts.map(CLOCK.fullmatch).notna().all()) or is_missing(texts).any():
            continue
        if named or not pd.to_numeric(texts, errors="coerce").notna().all():
            return str(name)
    return None


def _joined(days: pd.Series, day: np.ndarray, clocks: pd.Series, clock: np.ndarray) -> tuple[pd.Series, np.ndarray]:
    """Return the different pairs of day and time of day as text, and which of them each row has."""
    codes, pairs = pd.factorize(day.astype(np.int64) * len(clocks) + clock)
    left, right = np.divmod(pairs, len(clocks))
    return days.iloc[left].reset_index(drop=True) + " " + clocks.iloc[right].reset_index(drop=True), codes


def _integers(texts: pd.Series) -> np.ndarray | None:
    if not texts.str.fullmatch(r"[+-]?[0-9]{1,15}").all():
        return None
    return texts.astype("int64").to_numpy()


def _years(texts: pd.Series) -> bool:
    """Whether whole numbers are years, months (202401), weeks, days (20240131) or times of days (2024013114)."""
    return bool(texts.str.len().nunique() == 1 and looks_like_dates(texts))


def _read(source: Source, name: str, texts: pd.Series, codes: np.ndarray, day_first: bool | None) -> Reading:
    found = readings(texts)
    if not found or found[0].share < 0.5:
        raise UserError(
            f"column {name!r} does not hold dates that can be read",
            expected="dates such as 2024-01-31, 31.01.2024 14:00 or 2024-01-31T14:00+01:00, or whole numbers",
            found=f"{texts.iloc[0]!r} in {source.at([0])}",
            hint="choose another column with --date-column",
        )
    bad = np.flatnonzero(found[0].dates.isna()[codes])
    if len(bad):
        good = texts[found[0].dates.notna()].iloc[0]
        raise UserError(
            f"column {name!r} has {'dates' if len(bad) > 1 else 'a date'} that can't be read",
            expected=f"dates written like {good!r}",
            found=f"{texts[codes[bad[0]]]!r} in {source.at(bad)}",
            hint="mend or remove the lines" if len(bad) > 1 else "mend or remove the line",
        )
    reading = choose(found, _evenness, day_first)
    if reading is None:
        raise UserError(
            f"column {name!r}: day and month could be either way round",
            expected="dates of which one reading alone makes sense",
            found=f"{texts[codes[0]]!r} in {source.at([0])}; both readings fit all rows",
            hint="say which: --day-first or --no-day-first",
        )
    return reading


def _evenness(dates: pd.DatetimeIndex) -> float:
    """Share of steps between the different dates that are regular, counted in months where that fits."""
    dates = dates.unique().sort_values()
    if len(dates) < 3:
        return 0.0
    if spacing(dates):
        return 1.0
    monthly = dates.day.nunique() == 1 and dates.normalize().equals(dates)
    steps = np.diff(dates.year * 12 + dates.month) if monthly else np.diff(dates.asi8)
    return float(np.unique(steps, return_counts=True)[1].max() / len(steps))


def _absent(source: Source, name: str, rows: np.ndarray) -> UserError:
    return UserError(
        f"column {name!r}: {'a date is' if len(rows) == 1 else f'{len(rows)} dates are'} missing",
        expected="a date in every row",
        found=f"none in {source.at(rows)}",
        hint="fill it in or remove the row",
    )
