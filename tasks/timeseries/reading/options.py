"""What a user may say about a table, in Python and on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gated.errors import UserError

OPTIONS = ("date_column", "id_column", "target", "past", "future", "static", "frequency", "day_first", "missing")
"""Keywords of :func:`tasks.timeseries.reading.read_table`, one for each option of the command line."""


@dataclass(frozen=True)
class Options:
    """The keywords of :func:`tasks.timeseries.reading.read_table`, each list a tuple."""

    date_column: str | None = None
    id_column: str | None = None
    target: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    frequency: str | int | None = None
    day_first: bool | None = None
    missing: tuple[str | float, ...] = ()

    @classmethod
    def of(cls, **keywords: Any) -> Options:
        """Take keywords as a user gives them: one name or many, None for nothing.

        Raises:
            UserError: a column is to be two things at once.
        """
        lists = ("target", "past", "future", "static", "missing")
        options = cls(**(keywords | {name: _tuple(keywords.get(name)) for name in lists}))
        role: dict[str, str] = {}
        for kind in ("date_column", "id_column", "target", "past", "future", "static"):
            names = _tuple(getattr(options, kind))
            for name in names:
                if names.count(name) > 1:
                    raise UserError(f"{_flag(kind)} names column {name!r} twice", hint="name it once")
                other = role.setdefault(name, kind)
                if other != kind:
                    raise UserError(
                        f"column {name!r} can't be two things at once",
                        found=f"{_flag(other)} and {_flag(kind)}",
                        hint="name it in one of them",
                    )
        return options


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a CSV is read."""
    group = parser.add_argument_group("reading the CSV", "what is not given is found by looking")
    group.add_argument("--date-column", metavar="COL", help="the column of dates, or of whole numbers that count steps")
    group.add_argument("--id-column", metavar="COL", help="the column that tells series apart where they are stacked")
    group.add_argument("--target", nargs="+", metavar="COL", help="columns to forecast (all of numbers)")
    group.add_argument("--past", nargs="+", metavar="COL", help="columns to look at that are not known ahead")
    group.add_argument(
        "--future", nargs="+", metavar="COL", help="columns that are known ahead too, in rows at the end"
    )
    group.add_argument("--static", nargs="+", metavar="COL", help="columns with one value for each series")
    group.add_argument("--frequency", metavar="STEP", help="step between rows, such as 15min, h, D, B, W, MS")
    group.add_argument(
        "--day-first", action=argparse.BooleanOptionalAction, help="01/02/2024 is the first of February, or not"
    )
    group.add_argument("--missing", nargs="+", metavar="TEXT", help="texts or numbers that stand for a missing value")


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the parsed options as keywords of :func:`tasks.timeseries.reading.read_table`."""
    return {name: getattr(args, name) for name in OPTIONS}


def _tuple(value: str | float | Sequence[Any] | None) -> tuple[Any, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str | int | float) else tuple(value)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
