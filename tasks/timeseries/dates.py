"""How dates are written, so that a forecast can be dated alike; steps of a frequency and what season it suggests."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import tzinfo

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

_SEASONS = {
    **{"min": 60, "h": 24, "D": 7, "B": 5, "W": 52, "MS": 12, "ME": 12, "BMS": 12, "BME": 12},
    **{"QS": 4, "QE": 4, "BQS": 4, "BQE": 4},
}
_DAY = 86_400_000_000  # in microseconds
_LEAD = "\x01"  # stands before a number whose leading zero is to go
_WORD, _END = "\x03", "\x04"  # stand around a word whose case is to change
_UNPADDED = ("", "dm", "dmHI", "HI", "d", "m", "dHI", "mHI", "V")
_WORDS = {"b": r"([A-Za-z]{3,})", "B": r"([A-Za-z]{3,})", "p": r"[0-9] ?([AaPp][Mm])\b"}


@dataclass(frozen=True)
class DateFormat:
    """How dates are written.

    Attributes:
        pattern: a ``strftime`` pattern; ``%q`` is the quarter, ``%s`` seconds since 1970, and an empty one stands
            for an axis of integers.
        unpadded: letters of the directives that are written without a leading zero, such as ``"dm"``.
        offset: how ``%z`` is written: ``"+hhmm"``, ``"+hh:mm"``, or ``"+hh"`` without minutes where they are zero.
        fraction: digits of ``%f``.
        lower: letters of the directives that are written in small letters, such as ``"p"``.
        upper: letters of the directives that are written in capitals, such as ``"b"``.
    """

    pattern: str
    unpadded: str = ""
    offset: str = "+hhmm"
    fraction: int = 6
    lower: str = ""
    upper: str = ""

    @classmethod
    def like(cls, pattern: str, dates: pd.DatetimeIndex, texts: pd.Series) -> DateFormat:
        """Return the format of a pattern that writes dates as the texts that they were read from.

        Args:
            pattern: what the texts were read with.
            dates: some dates.
            texts: the text of each.
        """
        fraction, offset = 6, "+hhmm"
        if "%f" in pattern:
            fraction = int(min(6, texts.str.extract(r"\.([0-9]+)(?:$|[ Z+-])", expand=False).str.len().max()))
        if pattern.endswith("%z"):
            zones = texts.str.extract(r"[+-]([0-9:]+)$", expand=False)
            offset = "+hh:mm" if zones.str.contains(":").any() else offset
            offset = "+hh" if (zones.str.len() == 2).any() else offset
        lower = upper = ""
        for letter, place in _WORDS.items():
            words = texts.str.extract(place, expand=False) if f"%{letter}" in pattern else texts[:0]
            lower += letter * bool(len(words) and words.str.islower().all())
            upper += letter * bool(len(words) and words.str.isupper().all())
        full = cls(pattern, "", offset, fraction, lower, upper)
        forms = (replace(full, unpadded=letters) for letters in _UNPADDED)
        return next((form for form in forms if form.write(dates) == texts.tolist()), full)

    def write(self, dates: pd.Index) -> list[str]:
        """Return the dates (or the integers of an integer axis) as text."""
        if not isinstance(dates, pd.DatetimeIndex):
            return [str(value) for value in dates]
        if self.pattern == "%s":
            return [str(value) for value in dates.as_unit("s").asi8]
        pattern = self.pattern
        for letter in self.unpadded:
            pattern = pattern.replace(f"%{letter}", f"{_LEAD}%{letter}")
        for letter in self.lower + self.upper:
            pattern = pattern.replace(f"%{letter}", f"{_WORD}{letter}%{letter}{_END}")
        if "%q" in pattern:
            quarters = dates.quarter
            text = [
                cell.replace("\x02", str(quarter))
                for cell, quarter in zip(dates.strftime(pattern.replace("%q", "\x02")), quarters, strict=True)
            ]
        else:
            text = [str(cell) for cell in dates.strftime(pattern)]
        if self.unpadded:
            text = [re.sub(f"{_LEAD}0?(?=[0-9])", "", cell) for cell in text]
        if self.lower or self.upper:
            text = [re.sub(f"{_WORD}(.)(.*?){_END}", self._cased, cell) for cell in text]
        if pattern.endswith("%z") and self.offset != "+hhmm":
            text = [re.sub(r"([+-][0-9]{2})([0-9]{2})$", r"\1:\2", cell) for cell in text]
            text = [cell.removesuffix(":00") for cell in text] if self.offset == "+hh" else text
        if "%f" in pattern and self.fraction < 6:
            text = [re.sub(r"(\.[0-9]{6})", lambda found: found[1][: self.fraction + 1], cell) for cell in text]
        return text

    def split(self) -> tuple[DateFormat, DateFormat]:
        """Return the format of the day and that of the time of day, for tables with a column for each."""
        clock = min(place for letter in "HI" if (place := self.pattern.find(f"%{letter}")) >= 0)
        return replace(self, pattern=self.pattern[:clock].rstrip()), replace(self, pattern=self.pattern[clock:])

    def _cased(self, found: re.Match[str]) -> str:
        return found[2].lower() if found[1] in self.lower else found[2].upper()


def step_length(frequency: str | pd.DateOffset) -> int | None:
    """Return the microseconds of a step that is always the same on the clock on the wall, else None."""
    offset = to_offset(frequency)
    if isinstance(offset, pd.offsets.Week):
        return offset.n * 7 * _DAY
    if isinstance(offset, pd.offsets.Day):
        return offset.n * _DAY
    if isinstance(offset, pd.offsets.Tick):
        return max(1, pd.Timedelta(offset).value // 1000)
    return None


def follows_wall_clock(frequency: str | pd.DateOffset) -> bool:
    """Whether steps keep the time of day (days and longer) when clocks are changed; shorter ones follow the sun."""
    step = step_length(frequency)
    return step is None or step % _DAY == 0


def localised(wall: pd.DatetimeIndex, zone: tzinfo | None) -> pd.DatetimeIndex:
    """Return what a clock on the wall shows as dates in a zone.

    A time that the change to summer time leaves out moves forward, of one that comes twice the first is meant.
    """
    return wall.tz_localize(zone, ambiguous=np.ones(len(wall), bool), nonexistent="shift_forward")


def wall_clock(dates: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return what a clock on the wall shows at dates in a zone: the inverse of :func:`localised`.

    A time of day is put back where more than half of the dates share it and the change to summer time moved it forward.
    """
    wall = dates.tz_localize(None)
    if dates.tz is None or not len(dates):
        return wall
    days = wall.normalize()
    times = (wall - days).as_unit("us").asi8
    usual = np.partition(times, len(times) // 2)[len(times) // 2]
    other = times != usual
    if other.any() and other.mean() < 0.5:
        back = days + pd.Timedelta(int(usual), "us")
        other[other] = localised(back[other], dates.tz) == dates[other]
        wall = wall.where(~other, back)
    return wall


def season_of(frequency: str | int) -> int:
    """Return the number of steps in the season that a frequency suggests (a day, a week, a year), or 1."""
    match = re.fullmatch(r"(\d*)([A-Za-z]+)(-.+)?", str(frequency))
    if match is None:
        return 1
    multiple, unit = int(match[1] or 1), match[2]
    if unit == "min" and multiple > 1:  # 15min: a day, not an hour
        return max(1, 1440 // multiple)
    return max(1, _SEASONS.get(unit, 1) // multiple)
