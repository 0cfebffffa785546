"""What each column is for: the name of a series, a target, a covariate, or nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gated.errors import UserError, did_you_mean
from tasks.timeseries.reading.axis import Axis
from tasks.timeseries.reading.options import Options
from tasks.timeseries.reading.rows import Rows
from tasks.timeseries.reading.series import find_id
from tasks.timeseries.reading.source import Source

_TARGET_NAMES = ("y", "target", "value", "values", "sales", "demand", "quantity", "qty", "load", "count", "sold")
_COUNTER = re.compile(r"unnamed: 0(\.[0-9]+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Roles:
    """The columns that are used.

    Attributes:
        id_column: tells series apart; None in wide layout.
        targets: to forecast.
        chosen: whether the user named the targets: if not, columns without numbers are left out.
        notes: what was decided.
    """

    id_column: str | None
    targets: tuple[str, ...]
    chosen: bool
    notes: tuple[str, ...] = ()


def find_roles(source: Source, axis: Axis, options: Options) -> Roles:
    """Find out whether series are stacked, and which columns to forecast.

    Raises:
        UserError: a named column is not there, dates repeat and no column tells why or the one that should does not,
            years and months are in two columns, or nothing is left to forecast.
    """
    taken = {axis.column, axis.time_column}
    names = [str(name) for name in source.frame.columns if name not in taken]
    covariates = (*options.past, *options.future, *options.static)
    wanted = (*([options.id_column] if options.id_column else []), *options.target, *covariates)
    _check_names(names, wanted)
    counters = [name for name in names if name not in wanted and _counts_rows(source, axis, name)]
    names = [name for name in names if name not in counters]
    notes = [f"left out, it counts the rows: {name!r}" for name in counters]
    id_column = find_id(Rows.of(source, axis), names, wanted, options)
    if options.target:
        return Roles(id_column, options.target, True)
    rest = [name for name in names if name != id_column and name not in covariates]
    usual = [name for name in rest if name.lower() in _TARGET_NAMES and id_column is not None]
    if usual and len(rest) > 1:
        target = min(usual, key=lambda name: _TARGET_NAMES.index(name.lower()))
        others = ", ".join(repr(name) for name in rest if name != target)
        notes.append(
            f"{target!r} is forecast; not used: {others} (name them with --target, --past, --future, --static)"
        )
        rest = [target]
    if not rest:
        raise UserError("nothing to forecast", expected="a column of numbers beside the date column")
    return Roles(id_column, tuple(rest), False, tuple(notes))


def _check_names(names: list[str], wanted: tuple[str, ...]) -> None:
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise UserError(
            f"the table has no column{'s' if len(lacking) > 1 else ''} {', '.join(map(repr, lacking))}",
            expected="columns of the table beside the dates",
            found="the columns " + ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else ""),
            hint=did_you_mean(lacking[0], names),
        )


def _counts_rows(source: Source, axis: Axis, name: str) -> bool:
    """Whether a column is the index of a data frame: it has no name and counts rows, perhaps of several frames."""
    unnamed = axis.column is not None and name == "column 1" == source.frame.columns[0]
    if not unnamed and not _COUNTER.fullmatch(name):
        return False
    texts, codes = source.as_text(name)
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy()[codes]
    up = np.diff(numbers) == 1
    return bool(up[:1].any() and (up | (numbers[1:] == numbers[0])).all())
