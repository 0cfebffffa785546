"""Text as dates: one format for a whole column, day and month told apart by all of its rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta, timezone

import numpy as np
import pandas as pd

from tasks.timeseries.dates import DateFormat

_DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y-%m", "%Y/%m", "%Y.%m", "%Y%m", "%Y"),
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%m/%Y", "%m.%Y", "%m-%Y"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
    *("%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%Y-%b"),
    *("%YQ%q", "%Y-Q%q", "%Y Q%q", "Q%q %Y", "Q%q-%Y", "%G-W%V", "%GW%V"),
)
_DIRECTIVES = {
    **{"%Y": "(?:1[5-9]|2[01])[0-9]{2}", "%G": "(?:1[5-9]|2[01])[0-9]{2}", "%y": "[0-9]{2}", "%V": "[0-9]{2}"},
    **{"%m": "[0-9]{1,2}", "%d": "[0-9]{1,2}", "%b": "[A-Za-z]{3}", "%B": "[A-Za-z]{3,9}", "%q": "[1-4]"},
}


def _shape(pattern: str) -> re.Pattern[str]:
    if pattern in ("%Y%m%d", "%Y%m"):  # no sign between them: two digits each
        return re.compile("(?:1[5-9]|2[01])[0-9]{2}" + "[0-9]{2}" * (pattern.count("%") - 1))
    return re.compile(re.sub(r"%[A-Za-z]", lambda found: _DIRECTIVES[found[0]], pattern.replace(".", r"\.")))


_SHAPES = {pattern: _shape(pattern) for pattern in _DAYS}
_ZONES = (
    *("Europe/Berlin", "Europe/London", "Europe/Helsinki", "Asia/Jerusalem"),
    *("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Halifax"),
    *("America/Anchorage", "America/Santiago", "Australia/Sydney", "Australia/Adelaide", "Pacific/Auckland"),
)
"""Zones that change their clocks; of several that do so alike one stands for all."""
_PARTS = re.compile(
    r"(?P<day>.*?[^T, ])(?:(?P<gap>T|,? +)(?P<clock>[0-9]{1,2}(?P<sign>[:.])[0-9]{2}(?:(?P=sign)[0-9]{2}"
    r"(?P<fraction>\.[0-9]{1,9})?)?)(?P<half> ?[AaPp][Mm])?(?P<zone> ?(?:Z|UTC|[+-][0-9]{2}:?[0-9]{2}))?)?"
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
    found = [_read(texts, pattern) for pattern in patterns]
    best = max((reading.share for reading in found), default=0.0)
    return [reading for reading in found if reading.share == best > 0]


def looks_like_dates(texts: pd.Series, least: float = 0.9) -> bool:
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
        found = [r for r in found if not r.form.pattern.startswith("%m" if day_first else "%d")] or found
    if len(found) == 1:
        return found[0]
    twins = {tuple(reading.dates.asi8): reading for reading in reversed(found)}
    found = list(reversed(twins.values()))
    scores = [regular(reading.dates) for reading in found]
    margin = 0.0 if max(scores) == 1 else _MARGIN  # what is quite regular is no accident
    winners = [reading for reading, score in zip(found, scores, strict=True) if score >= max(scores) - margin]
    return winners[0] if len(winners) == 1 else None


def _patterns(text: str) -> list[tuple[str, str]]:
    """Return pairs of (pattern of the day, pattern of what follows) that fit a text."""
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return []
    rest = ""
    if parts["clock"]:
        sign, seconds = parts["sign"], len(re.findall("[0-9]+", parts["clock"])) > 2
        rest = parts["gap"] + ("%I" if parts["half"] else "%H") + f"{sign}%M" + (f"{sign}%S" if seconds else "")
        rest += (".%f" if parts["fraction"] else "") + (f"{parts['half'][:-2]}%p" if parts["half"] else "")
        zone = (parts["zone"] or "").lstrip()
        space = " " if (parts["zone"] or "").startswith(" ") else ""
        rest += space + (zone if zone in ("", "Z", "UTC") else "%z")
    return [(day, rest) for day, shape in _SHAPES.items() if shape.fullmatch(parts["day"])]


def _read(texts: pd.Series, pattern: tuple[str, str]) -> Reading:
    """Read texts by a pattern of a day and one of a time of day."""
    day, rest = pattern
    dates = _parse(texts, day, rest)
    notes: tuple[str, ...] = ()
    if rest and dates.hasnans:
        # midnight is often written without its time
        fits = texts[dates.isna()].str.fullmatch(_SHAPES[day].pattern)
        if fits.any():
            alone = _parse(texts.where(texts.index.isin(fits.index[fits])), day, "")
            dates = dates.where(dates.notna(), alone.tz_localize(dates.tz) if dates.tz else alone)
            notes = ("dates without a time of day are read as midnight",)
    if rest.endswith("%z"):
        dates, said = _zoned(dates, texts)
        notes += said
    sample = texts[dates.notna()].head(200)
    fraction = 6
    if "%f" in rest:
        fraction = int(min(6, sample.str.extract(r"\.([0-9]+)(?:$|[ Z+-])", expand=False).str.len().max()))
    colon = bool(sample.str.contains(r"[+-][0-9]{2}:[0-9]{2}$").any())
    full = DateFormat(day + rest, "", colon, fraction)
    forms = [DateFormat(full.pattern, letters, colon, full.fraction) for letters in ("", "dm", "dmHI", "HI", "d", "m")]
    known = dates[dates.notna()][:200]
    return Reading(dates, next((form for form in forms if form.write(known) == sample.tolist()), full), notes)


def _parse(texts: pd.Series, day: str, rest: str) -> pd.DatetimeIndex:
    if "%q" in day:
        place = re.escape(day).replace("%Y", "([0-9]{4})").replace("%q", "([1-4])")
        numbers = texts.str.extract(f"^{place}$")
        year, quarter = (numbers[0], numbers[1]) if day.index("%Y") < day.index("%q") else (numbers[1], numbers[0])
        month = (quarter.astype("Int64") * 3 - 2).astype(str).str.zfill(2)
        texts, day = year + "-" + month, "%Y-%m"
    if day.startswith("%G"):
        texts, day = texts + "-1", day + "-%u"
    aware = rest.endswith(("Z", "UTC", "%z"))
    dates = pd.to_datetime(texts, format=day + rest, errors="coerce", utc=aware)
    return pd.DatetimeIndex(dates).as_unit("us")


def _zoned(dates: pd.DatetimeIndex, texts: pd.Series) -> tuple[pd.DatetimeIndex, tuple[str, ...]]:
    """Return dates in the offset that all texts name, or in a zone whose clock changes explain it, or in UTC."""
    parts = texts.str.extract(r"([+-])([0-9]{2}):?([0-9]{2})$")
    minutes = pd.to_numeric(parts[1]) * 60 + pd.to_numeric(parts[2])
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
