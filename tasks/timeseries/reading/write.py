"""A forecast as a CSV in the layout of the table it continues."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd

from gated.engine.files import atomic_path
from tasks.timeseries.table import Layout

_DECIMALS = 6
_LONGEST = 20  # digits behind the sign: Python writes no more of them either without an exponent
_MOST = 16  # digits of a float64 behind the first


def write_table(path: str | Path, forecast: pd.DataFrame, layout: Layout) -> None:
    """Write a forecast: columns, delimiter, decimal sign, dates and encoding as in the input.

    Args:
        path: the CSV to write; it appears whole or not at all.
        forecast: dates in its index or in the column ``layout.date_column``, in long layout the column
            ``layout.id_column`` too, and columns of numbers. ``x-lo-90`` is written like ``x`` and stands after it.
        layout: of the input.
    """
    date = layout.date_column or "date"
    dates = pd.Index(forecast[date]) if date in forecast.columns else forecast.index
    text: dict[str, list[str]] = {}
    for name in forecast.columns:
        if name == layout.id_column:
            text[name] = [str(cell) for cell in forecast[name]]
        elif name != date:
            text[str(name)] = _numbers(
                forecast[name].to_numpy(dtype=np.float64), _digits(str(name), layout), layout.decimal
            )
    if layout.time_column is None:
        text[date] = layout.date_format.write(dates)
    else:
        day, clock = layout.date_format.split()
        text[date], text[layout.time_column] = day.write(dates), clock.write(dates)
    header = _order(list(text), layout, date)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding=layout.encoding) as file:
        writer = csv.writer(file, delimiter=layout.delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(zip(*(text[name] for name in header), strict=True))


def base_of(name: str) -> str:
    """Return the series that a column of an interval belongs to: ``"x"`` of ``"x-lo-90"``."""
    return re.sub(r"-(lo|hi)-[0-9.]+$", "", name)


def _order(names: list[str], layout: Layout, date: str) -> list[str]:
    """Return names in the order of the input, each with its interval behind it; dates and ids come first."""
    first = [name for name in (layout.id_column, date, layout.time_column) if name in names]
    known = {name: place for place, name in enumerate(layout.columns)}
    front = {name: place - len(first) for place, name in enumerate(first)}
    return sorted(names, key=lambda name: known.get(base_of(name), known.get(name, front.get(name, len(known)))))


def _digits(name: str, layout: Layout) -> int:
    return layout.decimals.get(
        name, layout.decimals.get(base_of(name), max(layout.decimals.values(), default=_DECIMALS))
    )


def _numbers(values: np.ndarray, digits: int, decimal: str) -> list[str]:
    return ["" if np.isnan(value) else _number(value, digits).replace(".", decimal) for value in values.tolist()]


def _number(value: float, digits: int) -> str:
    """Write a number with so many digits after the decimal sign; with an exponent where these are mostly zeros."""
    if digits <= _LONGEST or value == 0:
        return f"{value:.{min(digits, _LONGEST)}f}"
    significant = digits + math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(significant, 0), _MOST)}e}"
