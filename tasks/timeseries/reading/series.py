"""Which column tells series apart where they are stacked."""

from __future__ import annotations

from contextlib import suppress

import pandas as pd

from gated.errors import UserError
from tasks.timeseries.reading.decimal_sign import decimal_sign
from tasks.timeseries.reading.months import check_months
from tasks.timeseries.reading.numbers import Numbers, read_numbers
from tasks.timeseries.reading.options import Options
from tasks.timeseries.reading.rows import ROUGHLY, SERIES, Rows
from tasks.timeseries.reading.source import Source

_ALWAYS_IDS = ("unique_id", "item_id", "series_id", "ts_id")
_ID_NAMES = (
    *("series", "id", "store", "store_id", "sku", "product", "product_id", "item", "shop", "sensor", "sensor_id"),
    *("station", "station_id", "region", "country", "location", "symbol", "ticker", "customer", "customer_id"),
    *("meter", "meter_id", "name", "key", "group", "category", "brand", "city", "state", "variable", "device"),
)


def find_id(rows: Rows, names: list[str], wanted: tuple[str, ...], options: Options) -> str | None:
    """Return the column that tells series apart: the one told, or by name, or by what it holds; None if there is none.

    Raises:
        UserError: dates repeat in a way that no column explains, or not the one that was told.
    """
    free = [name for name in names if name not in wanted]
    named = [name for known in _ALWAYS_IDS + _ID_NAMES for name in free if name.lower() == known]
    named += [name for name in free if name not in named and name.lower().endswith(("_id", " id"))]
    if not rows.extra:
        return options.id_column or next((name for name in named if name.lower() in _ALWAYS_IDS), None)
    check_months(rows, [n for n in names if n != options.id_column], [*filter(None, [options.id_column]), *named])
    if options.id_column:
        if rows.mixed(options.id_column):
            others = [name for name in names if name not in options.target]
            raise _not_apart(rows, options.id_column, [*named, *_words(rows.source, others, options)], others)
        return options.id_column
    for name in named:
        if name.lower() in _ALWAYS_IDS and not rows.mixed(name):
            return name
    if rows.extra < SERIES and not rows.stacked:
        return None
    for name in named:
        many = rows.stacked or rows.extra > ROUGHLY * len(rows.times)
        if rows.several(name) and rows.repeated(name) <= ROUGHLY and (many or rows.beside(name)):
            return name
    words = _words(rows.source, free, options)
    telling = [n for n in words if rows.several(n) and _is_full(rows.source, n) and rows.repeated(n) == 0]
    telling = [name for name in telling if rows.stacked or rows.beside(name)]
    if len(telling) == 1:
        return telling[0]
    if rows.stacked:
        raise _not_plain(rows, [*named, *words], free)
    return None


def _not_apart(rows: Rows, name: str, likely: list[str], names: list[str]) -> UserError:
    """Return the error for a column that was told to be the id and leaves several rows for most dates."""
    hint = "make one row of those of a date first, by their sum or mean"
    other = _partner(rows, name, likely, names)
    if other is not None:
        alone = rows.repeated(other) <= ROUGHLY
        hint = f"name {other!r} instead" if alone else f"join {name!r} and {other!r} into one column and name that one"
    return UserError(
        f"column {name!r} does not tell the series apart: most dates come several times in a series",
        expected="one row for each date of a series",
        found=f"{len(rows.times)} rows for {len(pd.unique(rows.places(name)))} pairs of date and {name!r}",
        hint=hint,
    )


def _not_plain(rows: Rows, likely: list[str], names: list[str]) -> UserError:
    """Return the error for dates that repeat and no column that tells why."""
    column = "the index" if rows.axis.column is None else f"column {rows.axis.column!r}"
    shown = [name for name in names if name in likely][:8]
    first = next((name for name in likely if rows.several(name)), None)
    other = None if first is None else _partner(rows, first, likely, names)
    join = "join several columns into one first), or make one row of those of a date by their sum or mean"
    if other is not None:
        join = f"join {' and '.join(repr(name) for name in names if name in (first, other))} into one first)"
    return UserError(
        f"the dates of {column} repeat, and it is not plain which column tells the series apart",
        expected="one row for each date, or a column that names the series",
        found=f"{len(rows.times)} rows for {rows.days} dates"
        + (", columns that could: " + ", ".join(map(repr, shown)) if shown else ""),
        hint=f"name it with --id-column ({join}",
    )


def _partner(rows: Rows, name: str, likely: list[str], names: list[str]) -> str | None:
    """Return the column that tells series apart alone if one does, or else together with another."""
    for other in likely:
        if other != name and rows.several(other) and rows.repeated(other) <= ROUGHLY:
            return other
    others = sorted((n for n in names if n != name), key=lambda n: (n not in likely, rows.source.frame[n].nunique()))
    return next((n for n in others if rows.several(n) and rows.repeated(name, n) <= ROUGHLY), None)


def _is_full(source: Source, name: str) -> bool:
    return not (source.as_text(name)[0] == "").any()


def _words(source: Source, names: list[str], options: Options) -> list[str]:
    """Return the columns that hold text, most of it different from numbers."""
    decimal = decimal_sign(source, names, options.missing)
    found = []
    for name in filter(source.is_text, names):
        with suppress(UserError):  # numbers, but for a few cells
            if not isinstance(read_numbers(source, name, decimal, options.missing), Numbers):
                plain = pd.to_numeric(source.texts(name).head(200), errors="coerce").notna()
                found += [name] if plain.mean() < 0.5 else []
    return found
