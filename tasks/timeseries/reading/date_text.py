"""Text as dates: one format for a whole column, day and month told apart by all of its rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta, timezone

import numpy as np
import pandas as pd

from tasks.timeseries.dates import DateFormat, localised
from tasks.timeseries.reading.frequency import spacing

_DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y-%m", "%Y/%m", "%Y.%m", "%Y%m", "%Y"),
    *("%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S"),
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%m/%Y", "%m.%Y", "%m-%Y"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y"),
    *("%y-%m-%d", "%y/%m/%d", "%y.%m.%d"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
    *("%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%Y-%b"),
    *("%YQ%q", "%Y-Q%q", "%Y Q%q", "Q%q %Y", "Q%q-%Y", "%G-W%V", "%GW%V", "%G%V", "%G-%V"),
)
_RIVALS = {"%G%V": "%Y%m", "%G-%V": "%Y-%m"}
"""Weeks that are written like months."""
MOST = 0.9
"""Share of a column that can be read as dates from which it is one of dates."""
_DIRECTIVES = {
    **{"%Y": "(?:1[5-9]|2[01])[0-9]{2}", "%G": "(?:1[5-9]|2[01])[0-9]{2}", "%y": "[0-9]{2}", "%V": "[0-9]{2}"},
    **{"%m": "[0-9]{1,2}", "%d": "[0-9]{1,2}", "%b": "[A-Za-z]{3}", "%B": "[A-Za-z]{3,9}", "%q": "[1-4]"},
}


def _shape(pattern: str) -> re.Pattern[str]:
    if re.fullmatch("(%[A-Za-z]){2,}", pattern):  # no sign between them: two digits each
        years = "(?:19|2[01])" if "%H" in pattern else "(?:1[5-9]|2[01])"  # seconds since 1970 begin with 10 to 18
        return re.compile(years + "[0-9]{2}" * (pattern.count("%")))
    return re.compile(re.sub(r"%[A-Za-z]", lambda found: _DIRECTIVES[found[0]], pattern.replace(".", r"\.")))


_SHAPES = {pattern: _shape(pattern) for pattern in _DAYS}
_ZONES = (
    *("Europe/Berlin", "Europe/London", "Europe/Helsinki", "Asia/Jerusalem"),
    *("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Halifax"),
    *("America/Anchorage", "America/Santiago", "Australia/Sydney", "Australia/Adelaide", "Pacific/Auckland"),
)
"""Zones that change their clocks; of several that do so alike one stands for all."""
_PARTS = re.compile(
    r"(?P<day>.*?[^T, ])(?:(?P<gap>T|,? +)(?P<clock>[0-9]{1,2}(?:(?P<sign>[:.])[0-9]{2}(?:(?P=sign)[0-9]{2}"
    r"(?P<fraction>\.[0-9]{1,9})?)?)?)(?P<half> ?[AaPp][Mm])?(?P<zone> ?(?:Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)
_MARGIN = 0.1  # by so much one reading must be evener than the other
CLOCK = re.compile(r"[0-9]{1,2}([:.])[0-9]{2}(?:\1[0-9]{2})?(?: ?[AaPp][Mm])?")
"""A time of day without a date."""


@dataclass(frozen=True)
class Reading:
    """One way to read a column.

    Attributes:
        dates: one for each text, NaT where it can't be read so.
        form: how to write them again.
        notes: what was read into them.
    """

    dates: pd.DatetimeIndex
    form: DateFormat
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of texts that can be read."""
        return float(self.dates.notna().mean())


def readings(texts: pd.Series) -> list[Reading]:
    """Return the ways to read texts as dates, those that read most of them."""
    patterns = dict.fromkeys(p for text in [*texts.iloc[:3], *texts.iloc[-1:]] for p in _patterns(text))
    found = _told_apart([_read(texts, pattern) for pattern in patterns])
    best = max((reading.share for reading in found), default=0.0)
    return [reading for reading in found if reading.share == best > 0]


def looks_like_dates(texts: pd.Series, least: float = MOST) -> bool:
    """Whether nearly all texts, or another share of them, can be read as dates in one way."""
    return any(reading.share >= least for reading in readings(texts))


def from_seconds(texts: pd.Series) -> Reading:
    """Read whole seconds since 1970."""
    dates = pd.DatetimeIndex(pd.to_datetime(texts.astype("int64"), unit="s", utc=True)).as_unit("us")
    return Reading(dates, DateFormat("%s"))


def choose(
    found: list[Reading], regular: Callable[[pd.DatetimeIndex], float], day_first: bool | None
) -> Reading | None:
    """Return the reading with day and month in the order that was told or that gives evener spacing; None if neither.

    Args:
        found: ways that read equally many texts.
        regular: share of steps between dates that are alike.
        day_first: what the user says.
    """
    if day_first is not None:
        other = ("%m", "%y") if day_first else ("%d",)
        found = [reading for reading in found if not reading.form.pattern.startswith(other)] or found
    if len(found) == 1:
        return found[0]
    twins = {tuple(reading.dates.asi8): reading for reading in reversed(found)}
    found = list(reversed(twins.values()))
    scores = [regular(reading.dates) for reading in found]
    margin = 0.0 if max(scores) == 1 else _MARGIN  # what is quite regular is no accident
    winners = [reading for reading, score in zip(found, scores, strict=True) if score >= max(scores) - margin]
    winners = _by_year(winners)
    return winners[0] if len(winners) == 1 else None


def _by_year(winners: list[Reading]) -> list[Reading]:
    """Return the readings whose year, first or last of two digits, takes the fewest values or has a usual frequency."""

    def unlikely(reading: Reading) -> tuple[int, bool]:
        dates = reading.dates.unique().sort_values()
        return dates.year.nunique(), spacing(dates) is None

    first = [reading for reading in winners if reading.form.pattern.startswith("%y")]
    last = [reading for reading in winners if not reading.form.pattern.startswith("%y")]
    if not first or not last:
        return winners
    one, other = min(map(unlikely, first)), min(map(unlikely, last))
    return winners if one == other else first if one < other else last


def _told_apart(found: list[Reading]) -> list[Reading]:
    """Leave out months or weeks where both fit the layout: weeks are what most months don't explain."""
    by_day = {reading.form.pattern: reading for reading in found}
    for week, month in _RIVALS.items():
        weeks, months = by_day.get(week), by_day.get(month)
        if weeks is None or months is None:
            continue
        steps = np.diff(weeks.dates.unique().sort_values())
        closed = weeks.share == 1 and bool((steps == np.timedelta64(7, "D")).all())
        by_day.pop(month if weeks.share > months.share and (months.share < MOST or closed) else week)
    return list(by_day.values())


def _patterns(text: str) -> list[tuple[str, str]]:
    """Return pairs of (pattern of the day, pattern of what follows) that fit a text."""
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return []
    rest = ""
    if parts["clock"]:
        sign, count = parts["sign"], len(re.findall("[0-9]+", parts["clock"].removesuffix(parts["fraction"] or "")))
        rest = parts["gap"] + ("%I" if parts["half"] else "%H")
        rest += "".join(f"{sign}{directive}" for directive in ("%M", "%S")[: count - 1])
        rest += (".%f" if parts["fraction"] else "") + (f"{parts['half'][:-2]}%p" if parts["half"] else "")
        zone = (parts["zone"] or "").lstrip()
        space = " " if (parts["zone"] or "").startswith(" ") else ""
        rest += space + (zone if zone in ("", "Z", "UTC") else "%z")
    found = [day for day, shape in _SHAPES.items() if shape.fullmatch(parts["day"])]
    if parts["clock"] and not parts["sign"]:
        found = [day for day in found if "%d" in day]  # or else it may be the number of anything
    return [(day, rest) for day in found]


def _read(texts: pd.Series, pattern: tuple[str, str]) -> Reading:
    """Read texts by a pattern of a day and one of a time of day."""
    day, rest = pattern
    dates = _parse(texts, day, rest)
    notes: tuple[str, ...] = ()
    if rest.endswith("%z"):
        dates, notes = _zoned(dates, texts)
    alone = np.zeros(len(texts), bool)
    if rest and dates.hasnans:
        # midnight is often written without its time
        alone = dates.isna() & texts.str.fullmatch(_SHAPES[day].pattern).to_numpy(bool)
        if alone.any():
            midnights = _parse(texts.where(alone), day, "")
            dates = dates.where(~alone, localised(midnights, dates.tz) if dates.tz else midnights)
            notes = ("dates without a time of day are read as midnight", *notes)
    if day in _RIVALS:
        notes += ("calendar weeks (ISO 8601), each dated by its Monday",)
    sample = np.flatnonzero(dates.notna() & ~alone)[:200]
    return Reading(dates, DateFormat.like(day + rest, dates[sample], texts.iloc[sample]), notes)


def _parse(texts: pd.Series, day: str, rest: str) -> pd.DatetimeIndex:
    if "%q" in day:
        place = re.escape(day).replace("%Y", "([0-9]{4})").replace("%q", "([1-4])")
        numbers = texts.str.extract(f"^{place}$")
        year, quarter = (numbers[0], numbers[1]) if day.index("%Y") < day.index("%q") else (numbers[1], numbers[0])
        month = (quarter.astype("Int64") * 3 - 2).astype(str).str.zfill(2)
        texts, day = year + "-" + month, "%Y-%m"
    if day.startswith("%G"):
        texts, day = texts + "-1", day + "-%u"
    if rest.endswith("%z"):  # pandas wants minutes
        texts = texts.str.replace(r"([+-][0-9]{2})$", r"\g<1>00", regex=True)
    aware = rest.endswith(("Z", "UTC", "%z"))
    dates = pd.to_datetime(texts, format=day + rest, errors="coerce", utc=aware)
    return pd.DatetimeIndex(dates).as_unit("us")


def _zoned(dates: pd.DatetimeIndex, texts: pd.Series) -> tuple[pd.DatetimeIndex, tuple[str, ...]]:
    """Return dates in the offset that all texts name, or in a zone whose clock changes explain it, or in UTC."""
    offsets = texts.str.extract(f"^{_PARTS.pattern}$")["zone"]
    parts = offsets.str.extract(r"([+-])([0-9]{2})(?::?([0-9]{2}))?$")
    minutes = pd.to_numeric(parts[1]) * 60 + pd.to_numeric(parts[2]).fillna(0)
    minutes = minutes.where(parts[0] == "+", -minutes).to_numpy(dtype=np.float64)
    given = dates.notna() & ~np.isnan(minutes)
    different = np.unique(minutes[given])
    if len(different) == 1:
        return (dates.tz_convert(timezone(timedelta(minutes=int(different[0])))) if different[0] else dates), ()
    for zone in _ZONES:
        local = dates[given].tz_convert(zone)
        shift = (local.tz_localize(None).as_unit("s").asi8 - dates[given].as_unit("s").asi8) / 60
        if (shift == minutes[given]).all():
            return dates.tz_convert(zone), (f"its offsets are those of {zone}",)
    return dates, ("its offsets differ: dates are in UTC from here on",)
