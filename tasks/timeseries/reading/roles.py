"""What each column is for: the name of a series, a target, a covariate, or nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gated.errors import UserError, did_you_mean
from tasks.timeseries.reading.axis import Axis
from tasks.timeseries.reading.options import Options
from tasks.timeseries.reading.source import Source

_ALWAYS_IDS = ("unique_id", "item_id", "series_id", "ts_id")
_ID_NAMES = (
    *("series", "id", "store", "store_id", "sku", "product", "product_id", "item", "shop", "sensor", "sensor_id"),
    *("station", "station_id", "region", "country", "location", "symbol", "ticker", "customer", "customer_id"),
    *("meter", "meter_id", "name", "key", "group", "category", "brand", "city", "state", "variable", "device"),
)
_TARGET_NAMES = ("y", "target", "value", "values", "sales", "demand", "quantity", "qty", "load", "count", "sold")
_ROUGHLY = 0.05  # so many rows may repeat another where the name of a column says that it tells series apart
_STACKED = 1.5  # rows for each date from which they can't be repetitions of one series


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
        UserError: a named column is not there, dates repeat and no column tells why, or nothing is left to forecast.
    """
    taken = {axis.column, axis.time_column}
    names = [str(name) for name in source.frame.columns if name not in taken]
    covariates = (*options.past, *options.future, *options.static)
    wanted = (*([options.id_column] if options.id_column else []), *options.target, *covariates)
    _check_names(names, wanted)
    id_column = options.id_column or _find_id(source, axis, [n for n in names if n not in wanted])
    if options.target:
        return Roles(id_column, options.target, True)
    rest = [name for name in names if name != id_column and name not in covariates]
    notes = []
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


def _find_id(source: Source, axis: Axis, names: list[str]) -> str | None:
    """Return the column that tells series apart: by name, else the one text that makes every date come once."""
    always = [name for known in _ALWAYS_IDS for name in names if name.lower() == known]
    if always:
        return always[0]
    times, days = pd.factorize(axis.dates)
    if len(days) == len(times):
        return None

    def repeated(name: str) -> float:
        _, codes = source.as_text(name)
        pairs = codes.astype(np.int64) * len(days) + times
        return 1 - len(pd.unique(pairs)) / len(pairs)

    def several(name: str) -> bool:
        count = source.frame[name].nunique()
        return 1 < count <= max(2, len(times) // 2)

    named = [name for known in _ID_NAMES for name in names if name.lower() == known]
    named += [name for name in names if name not in named and name.lower().endswith(("_id", " id"))]
    for name in named:
        if several(name) and repeated(name) <= _ROUGHLY:
            return name
    telling = [name for name in names if _is_words(source, name) and several(name) and repeated(name) == 0]
    if len(telling) == 1:
        return telling[0]
    if len(times) > _STACKED * len(days):
        words = [name for name in names if _is_words(source, name)]
        raise UserError(
            f"the dates of column {axis.column!r} repeat, and it is not plain which column tells the series apart",
            expected="one row for each date, or a column that names the series",
            found=f"{len(times)} rows for {len(days)} dates"
            + (", columns of text: " + ", ".join(map(repr, words[:8])) if words else ""),
            hint="name it with --id-column (join several columns into one first)",
        )
    return None


def _is_words(source: Source, name: str) -> bool:
    """Whether most different texts of a column are no numbers."""
    if not source.is_text(name):
        return False
    texts = source.texts(name).head(200)
    return bool(pd.to_numeric(texts, errors="coerce").isna().mean() > 0.5)
