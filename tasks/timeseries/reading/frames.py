"""A pandas frame as the cells of a table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from gated.errors import UserError
from tasks.timeseries.dates import DateFormat
from tasks.timeseries.reading.axis import Axis
from tasks.timeseries.reading.source import Source, categorical
from tasks.timeseries.table import Table

_EXACT = 2**53
"""Up to which float64 holds every whole number."""


def frame_source(frame: pd.DataFrame, *, by_column: bool) -> tuple[Source, Axis | None]:
    """Return the cells of a frame, and its time axis if that is its index.

    Args:
        frame: one row a date, or several in long layout.
        by_column: the dates are in a column, whatever the index is.

    Raises:
        UserError: it is no frame, is empty, or has two columns of one name or a date missing in its index.
    """
    if not isinstance(frame, pd.DataFrame):
        raise UserError("not a table", expected="a pandas DataFrame", found=type(frame).__name__)
    if frame.empty:
        raise UserError("the frame is empty", expected="one row for each date")
    if isinstance(frame.index, pd.MultiIndex):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError("the frame has two columns of one name", found=", ".join(map(repr, doubled)), hint="rename one")
    index = frame.index.to_timestamp() if isinstance(frame.index, pd.PeriodIndex) else frame.index
    columns = {name: _column(frame.iloc[:, place]) for place, name in enumerate(names)}
    source = Source(pd.DataFrame(columns, index=pd.RangeIndex(len(frame))), np.arange(len(frame)), "row")
    if by_column or not isinstance(index, pd.DatetimeIndex):
        return source, None
    if index.hasnans:
        raise UserError("a date is missing", found=source.at(np.flatnonzero(index.isna())), hint="remove the row")
    return source, Axis(None, index.as_unit("us"), DateFormat("%Y-%m-%d %H:%M:%S"))


def in_unit_of(frame: pd.DataFrame, table: Table) -> Table:
    """Return a table whose dates have the resolution of the dates of the frame."""
    name = table.layout.date_column
    dates = frame.index if name is None else frame[name] if name in frame.columns else None
    unit = getattr(dates.dt if isinstance(dates, pd.Series) and hasattr(dates, "dt") else dates, "unit", None)
    if unit is None or not isinstance(table.values.index, pd.DatetimeIndex):
        return table
    return dataclasses.replace(table, values=table.values.set_axis(table.values.index.as_unit(unit)))


def _column(cells: pd.Series) -> object:
    """Return a column as dates, float64 or categorical text."""
    kind = cells.dtype
    if isinstance(kind, pd.PeriodDtype):
        return cells.dt.to_timestamp().to_numpy()
    if pd.api.types.is_datetime64_any_dtype(kind):
        return pd.DatetimeIndex(cells)
    text = pd.api.types.is_bool_dtype(kind) or not pd.api.types.is_numeric_dtype(kind) or kind.kind == "c"
    # ids of 19 digits are text too: float64 would merge them
    if text or (pd.api.types.is_integer_dtype(kind) and (cells.dropna().abs() > _EXACT).any()):
        return categorical("" if missing else str(cell) for cell, missing in zip(cells, cells.isna(), strict=True))
    return cells.to_numpy(dtype=np.float64, na_value=np.nan)
