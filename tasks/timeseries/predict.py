"""From a frame to the rows that follow it: :func:`gated.forecast`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from gated.errors import UserError, did_you_mean
from tasks.timeseries.checkpoint import columns_of, forecast_with, load_forecaster
from tasks.timeseries.dates import DateFormat
from tasks.timeseries.reading import from_frame
from tasks.timeseries.reading.ends import KNOWN_AHEAD
from tasks.timeseries.recipe import Recipe
from tasks.timeseries.request import check_names, shares, whole
from tasks.timeseries.study import Forecast, compare


def forecast(
    frame: Any,
    horizon: int,
    *,
    levels: Sequence[float] = (),
    model: str | None = None,
    date_column: str | None = None,
    id_column: str | None = None,
    target: str | Sequence[str] | None = None,
    past: Sequence[str] = (),
    future: Sequence[str] = (),
    static: Sequence[str] = (),
    frequency: str | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
    **recipe: Any,
) -> Any:
    """Forecast the ``horizon`` rows that follow a frame of pandas or polars, in the frame's own layout.

    Without a checkpoint several methods forecast rows that are held out, a small Gateformer trained on the frame among
    them, and the one that wins on validation forecasts. That takes seconds to a minute or two.

    Args:
        frame: wide (one row a step, a column each series) or long (``unique_id, ds, y`` or other names), with a column
            of dates or a ``DatetimeIndex``.
        horizon: steps to forecast.
        levels: of prediction intervals in percent, such as ``(80, 95)``.
        model: the method to use, such as ``"Gateformer"`` or ``"seasonal-naive (7)"``, whatever the comparison says.
        date_column: name of the date column; found where not given.
        id_column: name of the column that tells series apart in long layout; found where not given.
        target: columns to forecast; all of numbers where not given.
        past: columns to look at and not to forecast.
        future: columns that are known ahead; rows with empty targets at the end hold them for the forecast's steps.
        static: columns that hold one value for each series of a long frame.
        frequency: of the rows, as pandas names it; found where not given.
        checkpoint: a ``.ckpt`` or an exported folder to use instead of comparing and training.
        progress: draw a bar while training.
        recipe: options of :class:`tasks.timeseries.recipe.Recipe`, such as ``steps`` or ``seed``.

    Returns:
        A frame of the same kind. A wide one has the columns of the input; a long one its id and date columns and, as
        neuralforecast writes it, a column named after the method. Intervals end in ``-lo-90`` and ``-hi-90``. Dates are
        an index where they came as one.

    Raises:
        UserError: the frame, or its fit to the checkpoint, is not right; the message says what to do.

    Warns:
        UserWarning: what was repaired or left out while the frame was read.

    Example:
        >>> days = pd.date_range("2024-01-01", periods=200, freq="D")
        >>> sales = pd.DataFrame({"date": days, "sold": [10 + day % 7 for day in range(200)]})
        >>> len(forecast(sales, 14, steps=10))
        14
    """
    horizon, wanted = whole("horizon", horizon), shares(levels)
    given = _pandas(frame)
    columns: dict[str, Any] = {
        name: _names(value)
        for name, value in {"target": target, "past": past, "future": future, "static": static}.items()
    }
    date_column, id_column = (None if name is None else str(name) for name in (date_column, id_column))
    net = None if checkpoint is None else load_forecaster(checkpoint)
    if net is not None:
        if recipe or model or wanted:
            wrong = [*recipe, *(["model"] if model else []), *(["levels"] if wanted else [])]
            raise UserError(f"a checkpoint is not trained: {', '.join(wrong)} can't be used", hint="leave them out")
        columns = columns_of(net)
    table = from_frame(given, date_column=date_column, id_column=id_column, frequency=frequency, **columns)
    repaired = [note for note in table.notes if not note.endswith(KNOWN_AHEAD)]
    if repaired:
        warnings.warn("gated.forecast read the frame so: " + "; ".join(repaired), stacklevel=2)
    if net is None:
        check_names(table, wanted)
        study = compare(table, horizon, recipe=_recipe(recipe), model=model, bar=progress)
        ahead = study.future(wanted)
    else:
        ahead = forecast_with(net, table, horizon, _names(target))
    return _as_given(ahead, given, frame)


def _recipe(options: dict[str, Any]) -> Recipe:
    known = [field.name for field in fields(Recipe)]
    for name in options:
        if name not in known:
            raise UserError(f"forecast has no option {name!r}", hint=did_you_mean(name, known))
    return Recipe(**options)


def _pandas(frame: Any) -> pd.DataFrame:
    """Return a frame of pandas with names of text; an index of several levels becomes columns.

    Raises:
        UserError: it is lazy, a single column, or has names of several levels.
    """
    if _is_polars(frame):
        import polars

        if isinstance(frame, polars.LazyFrame):
            raise UserError("a LazyFrame holds no rows yet", expected="a DataFrame", hint="call .collect() on it")
        if not isinstance(frame, polars.DataFrame):
            raise UserError("not a table", expected="a polars DataFrame", found=type(frame).__name__)
        return pd.DataFrame({column.name: _cells(column) for column in frame})
    if not isinstance(frame, pd.DataFrame):
        return frame  # the reader says what is wrong
    if isinstance(frame.columns, pd.MultiIndex):
        raise UserError(
            "the frame's columns have names of several levels",
            expected="one name a column",
            found=repr(frame.columns[0]),
            hint="join them: frame.columns = ['_'.join(map(str, names)) for names in frame.columns]",
        )
    return (frame.reset_index() if isinstance(frame.index, pd.MultiIndex) else frame).rename(columns=str)


def _names(given: Any) -> Any:
    """Return names of columns as text, as those of the frame are, which may be numbers."""
    return given if given is None or isinstance(given, str) else str(given) if _single(given) else list(map(str, given))


def _single(given: Any) -> bool:
    return not hasattr(given, "__iter__")


def _is_polars(frame: Any) -> bool:
    return type(frame).__module__.split(".")[0] == "polars"


def _cells(column: Any) -> Any:
    """Return a column of polars as pandas takes it, without pyarrow."""
    import polars

    if column.dtype == polars.Date:
        column = column.cast(polars.Datetime("us"))
    return column.to_numpy() if column.dtype.is_numeric() else column.to_list()


def _as_given(ahead: Forecast, given: pd.DataFrame, frame: Any) -> Any:
    """Bring a forecast into the layout and kind of the frame that was given."""
    layout = ahead.table.layout
    date, name, clock = layout.date_column, layout.id_column, layout.time_column
    single = name is not None and len(ahead.columns) == 1
    out = ahead.frame(names={ahead.columns[0]: ahead.method} if single else None)
    if name is not None:
        out[name] = _ids(out[name], given[name])
    if date is None:
        out = out.set_index(ahead.date_name).rename_axis(given.index.name)
        out = out.to_period(given.index.freq) if isinstance(given.index, pd.PeriodIndex) else out
    elif clock is not None:
        day, time = layout.date_format.split()
        dates = out[date]
        out[clock] = _times(dates, given[clock], time)
        out[date] = _dates(dates.dt.normalize(), given[date], day)
    else:
        out[date] = _dates(out[date], given[date], layout.date_format)
    first = [column for column in given.columns if column in out.columns]
    out = out[[*first, *(column for column in out.columns if column not in first)]]
    if not _is_polars(frame):
        out = out.rename(columns={str(column): column for column in frame.columns})
        if not isinstance(frame.index, pd.MultiIndex):
            return out
        levels = list(given.columns[: frame.index.nlevels])  # a level without a name is a column with one
        return out.set_index(levels).rename_axis(frame.index.names)
    import polars

    kept = {column: frame.schema[column] for column in (date, name, clock) if column in frame.columns}
    return polars.DataFrame({column: out[column].to_list() for column in out.columns}).cast(kept)


def _ids(texts: pd.Series, given: pd.Series) -> pd.Series:
    """Return the names of series as the frame has them, and not as text."""
    known = given.drop_duplicates()
    # as the reader writes numbers out
    counts = pd.api.types.is_float_dtype(known.dtype) and (known.dropna() % 1 == 0).all()
    place = {str(int(cell)) if counts else str(cell).strip(): at for at, cell in enumerate(known)}
    return known.iloc[texts.map(place).to_numpy()].reset_index(drop=True)


def _times(dates: pd.Series, given: pd.Series, form: DateFormat) -> Any:
    """Return times of day as the frame has them: times of Python, numbers of hours or text."""
    if pd.api.types.infer_dtype(given, skipna=True) == "time":
        return dates.dt.time
    return pd.Series(form.write(pd.DatetimeIndex(dates)), dtype=object).astype(_kind(given))


def _dates(dates: pd.Series, given: pd.Series, form: DateFormat) -> Any:
    """Return dates as the frame has them: dates, periods, days of Python, text or numbers."""
    if isinstance(given.dtype, pd.PeriodDtype):
        return dates.dt.to_period(given.dtype.freq)
    if pd.api.types.is_datetime64_any_dtype(given.dtype):
        return dates
    if pd.api.types.infer_dtype(given, skipna=True) == "date":
        return dates.dt.date
    return pd.Series(form.write(pd.Index(dates)), dtype=object).astype(_kind(given))


def _kind(given: pd.Series) -> Any:
    """Return the dtype of a column of numbers or of text."""
    return (
        given.dtype if pd.api.types.is_numeric_dtype(given.dtype) or isinstance(given.dtype, pd.StringDtype) else object
    )
