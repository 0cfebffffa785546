"""A table of series: from a CSV or a pandas frame, and back in the same layout.

One row a step, a column of dates, every other column a series of numbers ("wide" layout).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from gated.engine.files import atomic_path
from gated.errors import UserError, did_you_mean
from tasks.timeseries import dialect
from tasks.timeseries.dates import DateFormat, find_date_column, infer_frequency, parse_dates

MAX_GAP = 3
"""Longest run of missing values that is filled by a straight line between its neighbours."""
_HUGE = 1e100  # beyond it squares overflow


@dataclass(frozen=True)
class Layout:
    """How a table was written, so that a forecast can be written alike.

    Attributes:
        date_column: its name; None for a frame whose index holds the dates.
        date_format: how its dates are written.
        delimiter: between cells.
        decimal: the decimal sign.
        columns: all columns that are kept, in the order of the file, the date column among them.
        decimals: column -> digits after the decimal sign in a forecast.
    """

    date_column: str | None
    date_format: DateFormat
    delimiter: str = ","
    decimal: str = "."
    columns: tuple[str, ...] = ()
    decimals: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Series on one regular time axis.

    Attributes:
        values: float64 frame, its index the dates, a column each series.
        frequency: pandas frequency of the dates.
        layout: how the table was written.
        notes: what was repaired on the way in, a sentence each.
    """

    values: pd.DataFrame
    frequency: str
    layout: Layout
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Names of the series."""
        return [str(name) for name in self.values.columns]

    def future_dates(self, steps: int) -> pd.DatetimeIndex:
        """Return the ``steps`` dates that follow the last row."""
        following = pd.date_range(self.values.index[-1], periods=steps + 1, freq=self.frequency)[1:]
        return following.rename(self.values.index.name)


def read_table(path: str | Path, *, date_column: str | None = None, target: str | Sequence[str] | None = None) -> Table:
    """Read a wide CSV.

    Delimiter, decimal sign, date column and date format are found by looking; the frequency by pandas.

    Args:
        path: the CSV, or ``national_illness`` for the one that ships.
        date_column: name of the date column; found by name or content where not given.
        target: the columns to keep; every column but the date where not given.

    Raises:
        UserError: with the file, column and line of whatever is wrong and how to mend it.
    """
    shipped = Path(__file__).parent / "assets" / f"{path}.csv"
    if not str(path):
        raise UserError("no CSV given", expected="the path of a CSV", hint="with a config: --data.csv FILE")
    path = shipped if not Path(path).exists() and shipped.is_file() else path
    cells, form = dialect.read_cells(path)
    date = find_date_column(cells, date_column)
    names = _chosen([name for name in cells.columns if name != date], target)
    dates, date_format = parse_dates(cells[date])
    lines = [f"line {line}" for line in cells.index]
    frequency = infer_frequency(dates, lines, date_format)
    values = pd.DataFrame({name: dialect.numbers(cells[name], form.decimal) for name in names})
    digits = {name: dialect.decimals(cells[name], form.decimal) for name in names}
    columns = tuple(name for name in cells.columns if name == date or name in names)
    values, notes = _without_gaps(values, lines)
    values.index = dates.rename(date)
    return Table(values, frequency, Layout(date, date_format, form.delimiter, form.decimal, columns, digits), notes)


def from_frame(
    frame: pd.DataFrame, *, date_column: str | None = None, target: str | Sequence[str] | None = None
) -> Table:
    """Take a pandas frame with a date column, or with the dates as its index; same rules and errors as a CSV."""
    if not isinstance(frame, pd.DataFrame):
        raise UserError("not a table", expected="a pandas DataFrame", found=type(frame).__name__)
    if frame.empty:
        raise UserError("the frame is empty", expected="one row for each date")
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    if date_column is None and isinstance(frame.index, pd.DatetimeIndex):
        dates, date_format, date = frame.index, DateFormat("%Y-%m-%d %H:%M:%S"), None
    else:
        stamps = [name for name in frame.columns if pd.api.types.is_datetime64_any_dtype(frame[name])]
        date = find_date_column(frame.astype(str), date_column or (stamps[0] if stamps else None))
        if pd.api.types.is_datetime64_any_dtype(frame[date]):
            dates, date_format = pd.DatetimeIndex(frame[date]), DateFormat("%Y-%m-%d %H:%M:%S")
        else:
            dates, date_format = parse_dates(frame[date].astype(str))
    if dates.hasnans:
        raise UserError("a date is missing", found=f"row {int(dates.isna().argmax())}", hint="remove the row")
    names = _chosen([name for name in frame.columns if name != date], target)
    for name in names:
        if not pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name]):
            raise UserError(
                f"column {name!r} does not hold numbers",
                found=f"dtype {frame[name].dtype}",
                hint="convert it, or choose the columns to forecast with target=[...]",
            )
    rows = [f"row {row}" for row in range(len(frame))]
    frequency = infer_frequency(dates, rows, date_format)
    values, notes = _without_gaps(frame[names].astype("float64").reset_index(drop=True), rows)
    values.index = dates
    columns = tuple(name for name in frame.columns if name == date or name in names)
    return Table(values, frequency, Layout(date, date_format, columns=columns), notes)


def write_table(path: str | Path, forecast: pd.DataFrame, layout: Layout) -> None:
    """Write a forecast (index: dates, columns: series) as a CSV in the layout of the input."""
    text = {
        name: [f"{value:.{layout.decimals.get(name, 6)}f}".replace(".", layout.decimal) for value in forecast[name]]
        for name in forecast.columns
    }
    date = layout.date_column or "date"
    text[date] = layout.date_format.write(pd.DatetimeIndex(forecast.index))
    header = [name for name in layout.columns if name in text] if date in layout.columns else list(text)
    with atomic_path(path) as temporary:
        dialect.write_cells(temporary, header, zip(*(text[name] for name in header), strict=True), layout.delimiter)


def _chosen(names: list[str], target: str | Sequence[str] | None) -> list[str]:
    """Return the columns to keep."""
    wanted = [target] if isinstance(target, str) else list(target or names)
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise UserError(
            f"the table has no column{'s' if len(lacking) > 1 else ''} {', '.join(map(repr, lacking))}",
            expected=", ".join(map(repr, wanted)) if len(wanted) > 1 else "a column of the table",
            found="the columns " + ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else ""),
            hint=did_you_mean(lacking[0], names),
        )
    if not wanted:
        raise UserError("nothing to forecast", expected="a column of numbers beside the date column")
    return wanted


def _without_gaps(values: pd.DataFrame, rows: Sequence[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Fill short gaps by a straight line; raise for long ones and for those at either end."""
    notes = []
    for name in values.columns:
        missing = values[name].isna().to_numpy()
        for start, stop in _runs(missing):
            if stop - start > MAX_GAP or start == 0 or stop == len(values):
                place = "at the start" if start == 0 else "at the end" if stop == len(values) else "in one run"
                raise UserError(
                    f"column {name!r} has {stop - start} missing value{'s' if stop - start > 1 else ''} {place}",
                    expected=f"no gap longer than {MAX_GAP}, and none at either end",
                    found=f"{rows[start]} to {rows[stop - 1]} are empty",
                    hint="fill them, cut these rows off, or leave the column out with --target",
                )
        if missing.any():
            where = ", ".join(rows[row] for row in np.flatnonzero(missing)[:5])
            where += ", ..." if missing.sum() > 5 else ""
            notes.append(f"column {name!r}: {missing.sum()} missing value(s) interpolated between neighbours ({where})")
    filled = values.interpolate()
    huge = ~(filled.abs() < _HUGE).to_numpy()
    if huge.any():
        row, column = np.argwhere(huge)[0]
        raise UserError(
            f"column {values.columns[column]!r} has a number that is too large", found=rows[row], hint="mend it"
        )
    return filled, tuple(notes)


def _runs(flags: np.ndarray) -> Iterable[tuple[int, int]]:
    """Yield (start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
