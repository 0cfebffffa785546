"""How dates are written, so that a forecast can be dated alike, and what season a frequency suggests."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

_SEASONS = {
    **{"min": 60, "h": 24, "D": 7, "B": 5, "W": 52, "MS": 12, "ME": 12, "BMS": 12, "BME": 12},
    **{"QS": 4, "QE": 4, "BQS": 4, "BQE": 4},
}
_LEAD = "\x01"  # stands before a number whose leading zero is to go


@dataclass(frozen=True)
class DateFormat:
    """How dates are written.

    Attributes:
        pattern: a ``strftime`` pattern; ``%q`` is the quarter, ``%s`` seconds since 1970, and an empty one stands
            for an axis of integers.
        unpadded: letters of the directives that are written without a leading zero, such as ``"dm"``.
        colon: whether the offset of ``%z`` has a colon.
        fraction: digits of ``%f``.
    """

    pattern: str
    unpadded: str = ""
    colon: bool = False
    fraction: int = 6

    def write(self, dates: pd.Index) -> list[str]:
        """Return the dates (or the integers of an integer axis) as text."""
        if not isinstance(dates, pd.DatetimeIndex):
            return [str(value) for value in dates]
        if self.pattern == "%s":
            return [str(value) for value in dates.as_unit("s").asi8]
        pattern = self.pattern
        for letter in self.unpadded:
            pattern = pattern.replace(f"%{letter}", f"{_LEAD}%{letter}")
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
        if self.colon:
            text = [re.sub(r"([+-][0-9]{2})([0-9]{2})$", r"\1:\2", cell) for cell in text]
        if "%f" in pattern and self.fraction < 6:
            text = [re.sub(r"(\.[0-9]{6})", lambda found: found[1][: self.fraction + 1], cell) for cell in text]
        return text

    def split(self) -> tuple[DateFormat, DateFormat]:
        """Return the format of the day and that of the time of day, for tables with a column for each."""
        clock = min(place for letter in "HI" if (place := self.pattern.find(f"%{letter}")) >= 0)
        return (
            DateFormat(self.pattern[:clock].rstrip(), self.unpadded),
            DateFormat(self.pattern[clock:], self.unpadded, self.colon, self.fraction),
        )


def season_of(frequency: str | int) -> int:
    """Return the number of steps in the season that a frequency suggests (a day, a week, a year), or 1."""
    match = re.fullmatch(r"(\d*)([A-Za-z]+)(-.+)?", str(frequency))
    if match is None:
        return 1
    multiple, unit = int(match[1] or 1), match[2]
    if unit == "min" and multiple > 1:  # 15min: a day, not an hour
        return max(1, 1440 // multiple)
    return max(1, _SEASONS.get(unit, 1) // multiple)
