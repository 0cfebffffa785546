"""What is asked of a forecast, in Python and on the command line: checked before anything takes time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any

from gated.errors import UserError
from tasks.timeseries.table import Table


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number.

    Raises:
        UserError: it is none, or less than ``least``.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} must be a whole number", expected=f">= {least}", found=repr(value))
    return int(value)


def shares(levels: Any) -> tuple[float, ...]:
    """Return levels of intervals, one or many, each once and in ascending order.

    Raises:
        UserError: one is no number between 0 and 100.
    """
    many = (levels,) if isinstance(levels, str | Real) else tuple(levels)
    for level in many:
        if not isinstance(level, Real) or not 0 < level < 100:
            found = f"{level:g}" if isinstance(level, Real) else repr(level)
            raise UserError("a level is a share in percent", expected="between 0 and 100", found=found)
    return tuple(sorted({float(level) for level in many}))


def ends(name: str, levels: Sequence[float]) -> Iterator[tuple[str, str]]:
    """Yield the names of the lower and the upper ends of the intervals of a series, as neuralforecast writes them."""
    for level in levels:
        yield f"{name}-lo-{level:g}", f"{name}-hi-{level:g}"


def check_names(table: Table, levels: Sequence[float]) -> None:
    """Check that no column of the forecast has the name of another.

    Raises:
        UserError: naming it.
    """
    names = [name for name in (table.layout.date_column, table.layout.id_column) if name is not None]
    for column in table.columns:
        names += [column, *(end for pair in ends(column, levels) for end in pair)]
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise UserError(
            f"the forecast would have two columns {doubled[0]!r}",
            expected="other names for columns of the table than for ends of intervals",
            found=", ".join(map(repr, table.columns)),
            hint="rename the column, choose others with --target, or ask for no intervals (--level without a number)",
        )
