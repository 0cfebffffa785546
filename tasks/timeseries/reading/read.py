"""From a CSV or a pandas frame to a :class:`~tasks.timeseries.table.Table`, with everything repaired on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gated.errors import UserError
from tasks.timeseries.reading.axis import Axis, find_axis
from tasks.timeseries.reading.cells import read_cells
from tasks.timeseries.reading.columns import Columns, read_covariates, read_targets
from tasks.timeseries.reading.decimal_sign import decimal_sign
from tasks.timeseries.reading.ends import cut_ends
from tasks.timeseries.reading.frames import frame_source, in_unit_of
from tasks.timeseries.reading.options import Options
from tasks.timeseries.reading.regular import regularise
from tasks.timeseries.reading.roles import find_roles
from tasks.timeseries.reading.source import Source
from tasks.timeseries.reading.summary import observations
from tasks.timeseries.table import Layout, Table

_ASSETS = Path(__file__).resolve().parents[1] / "assets"


def read_table(
    path: str | Path,
    *,
    date_column: str | None = None,
    id_column: str | None = None,
    target: str | Sequence[str] | None = None,
    past: str | Sequence[str] = (),
    future: str | Sequence[str] = (),
    static: str | Sequence[str] = (),
    frequency: str | int | None = None,
    day_first: bool | None = None,
    missing: str | float | Sequence[str | float] | None = None,
) -> Table:
    """Read a CSV in wide or long layout; what is not given is found by looking, what is repaired is noted.

    Args:
        path: the CSV, or ``national_illness`` for the one that ships.
        date_column: the column of dates, or of whole numbers that count steps.
        id_column: the column that tells series apart in long layout.
        target: the columns to forecast; in wide layout all of numbers, in long layout ``y`` or the like or else all.
        past: columns that are looked at and not known ahead.
        future: columns that are known ahead, in rows at the end whose targets are empty.
        static: columns that have one value for each series.
        frequency: a pandas frequency, or the step of an integer axis.
        day_first: whether 01/02/2024 is the first of February.
        missing: texts or numbers that stand for a missing value.

    Raises:
        UserError: with the file, column and line of whatever can't be repaired and how to mend it.
    """
    if not str(path):
        raise UserError("no CSV given", expected="the path of a CSV", hint="with a config: --data.csv FILE")
    shipped = _ASSETS / f"{path}.csv"
    options = Options.of(
        date_column=date_column,
        id_column=id_column,
        target=target,
        past=past,
        future=future,
        static=static,
        frequency=frequency,
        day_first=day_first,
        missing=missing,
    )
    source = read_cells(shipped if not Path(path).exists() and shipped.is_file() else path)
    axis = find_axis(source, date_column=options.date_column, day_first=options.day_first)
    return _build(source, axis, options)


def from_frame(
    frame: pd.DataFrame,
    *,
    date_column: str | None = None,
    id_column: str | None = None,
    target: str | Sequence[str] | None = None,
    past: str | Sequence[str] = (),
    future: str | Sequence[str] = (),
    static: str | Sequence[str] = (),
    frequency: str | int | None = None,
    day_first: bool | None = None,
    missing: str | float | Sequence[str | float] | None = None,
) -> Table:
    """Take a pandas frame with a column of dates, or with the dates as its index; otherwise as :func:`read_table`.

    Raises:
        UserError: as :func:`read_table`; rows are counted from 0.
    """
    options = Options.of(
        date_column=date_column,
        id_column=id_column,
        target=target,
        past=past,
        future=future,
        static=static,
        frequency=frequency,
        day_first=day_first,
        missing=missing,
    )
    source, axis = frame_source(frame, by_column=date_column is not None)
    if axis is None:
        axis = find_axis(source, date_column=options.date_column, day_first=options.day_first)
    return in_unit_of(frame, _build(source, axis, options))


def _build(source: Source, axis: Axis, options: Options) -> Table:
    """Put together what the parts of this package find."""
    roles = find_roles(source, axis, options)
    no_values = {axis.column, axis.time_column, roles.id_column}
    decimal = decimal_sign(source, [name for name in source.frame.columns if name not in no_values], options.missing)
    columns = Columns()
    targets = read_targets(source, roles.targets, roles.chosen, decimal, options, columns)
    past = read_covariates(source, options.past, decimal, options, columns)
    future = read_covariates(source, options.future, decimal, options, columns)
    static = read_covariates(source, options.static, decimal, options, columns)
    ids, groups = _groups(source, roles.id_column)
    names = [*targets, *past, *future]
    regular = regularise(columns.matrix(names), groups, axis.dates, source, axis.form, options.frequency)
    cut, ahead, alive, said = cut_ends(regular, len(targets), len(future))
    if not alive.any():
        raise UserError("there is nothing to forecast from: no series has a value", expected="numbers in the targets")
    if not alive.all():
        dead = [name for name, kept in zip(ids, alive, strict=True) if not kept]
        shown = ", ".join(map(repr, dead[:3])) + (", ..." if len(dead) > 3 else "")
        said += (f"{len(dead)} series without a value left out ({shown})",)
    used = {axis.column, axis.time_column, roles.id_column, *targets, *options.past, *options.future, *options.static}
    layout = Layout(
        axis.column,
        axis.form,
        source.delimiter,
        decimal.sign,
        tuple(str(name) for name in source.frame.columns if name in used),
        columns.decimals,
        roles.id_column,
        axis.time_column,
        source.encoding,
    )
    dates = cut.dates[:]  # without the tables of hashes that looking for the frequency has left behind
    table = Table(
        pd.DataFrame(cut.values, index=dates.rename(axis.column or axis.dates.name), columns=names),
        cut.frequency,
        layout,
        ids=tuple(name for name, kept in zip(ids, alive, strict=True) if kept),
        offsets=cut.offsets,
        past=past,
        future=future,
        ahead=ahead,
        static=_static(source, columns, static, groups, ids, alive) if static else None,
    )
    notes = (
        *source.notes,
        *axis.notes,
        *roles.notes,
        *columns.notes,
        *cut.notes,
        *said,
        *observations(table, cut.added),
    )
    object.__setattr__(table, "notes", notes)
    return table


def _groups(source: Source, id_column: str | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the series and ``[R]`` which one each row belongs to, in order of appearance."""
    if id_column is None:
        return ("",), np.zeros(len(source.frame), dtype=np.int64)
    texts, codes = source.as_text(id_column)
    absent = np.flatnonzero((texts == "").to_numpy()[codes])
    if len(absent):
        raise UserError(
            f"column {id_column!r}: the name of a series is missing",
            expected="a name in every row",
            found=f"none in {source.at(absent)}",
            hint="fill it in or remove the row",
        )
    return tuple(texts), codes.astype(np.int32)


def _static(
    source: Source, columns: Columns, names: Sequence[str], groups: np.ndarray, ids: Sequence[str], alive: np.ndarray
) -> pd.DataFrame:
    """Return the one value of each static column in each series, ``[G, S]``."""
    grouped = pd.DataFrame({name: columns.values[name] for name in names}).groupby(groups)
    low, high = grouped.min(), grouped.max()
    for name in names:
        wrong = np.flatnonzero((low[name] != high[name]) & alive)
        if len(wrong):
            group = int(wrong[0])
            empty = bool(np.isnan(low[name].iloc[group]))
            raise UserError(
                f"static column {name!r} has {'no value' if empty else 'several values'} in series {ids[group]!r}",
                expected="one value for each series",
                found="none" if empty else f"{low[name].iloc[group]:g} to {high[name].iloc[group]:g}",
                hint="name it with --past or --future instead, or mend it",
            )
    return low[alive].reset_index(drop=True)
