"""From a table to the rows that follow it: :func:`gated.forecast` and ``gated timeseries forecast``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from gated.cli.main import Parser
from gated.engine.checkpoint import load
from gated.errors import UserError, did_you_mean
from tasks.timeseries.data import Scaler
from tasks.timeseries.study import Recipe, Study, plan, train_on
from tasks.timeseries.table import Table, from_frame, read_table, write_table

_FACTS = ("columns", "scaler", "frequency", "input_size", "horizon")


def forecast(
    frame: pd.DataFrame,
    horizon: int,
    *,
    date_column: str | None = None,
    target: str | Sequence[str] | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
    **recipe: Any,
) -> pd.DataFrame:
    """Forecast the ``horizon`` rows that follow a frame, in the frame's own layout.

    Without a checkpoint a small Gateformer is trained on the frame, which takes seconds to a minute or two.

    Args:
        frame: one row a step, with a column of dates or a ``DatetimeIndex``, and columns of numbers.
        horizon: steps to forecast.
        date_column: name of the date column; found where not given.
        target: columns to forecast; all of numbers where not given.
        checkpoint: a ``.ckpt`` or an exported folder to use instead of training.
        progress: draw a bar while training.
        recipe: options of :class:`tasks.timeseries.study.Recipe`, such as ``epochs``, ``input_size`` or ``seed``.

    Returns:
        ``horizon`` rows with the same column names; dates are an index where they came as one.

    Raises:
        UserError: the frame, or its fit to the checkpoint, is not right; the message says what to do.

    Example:
        >>> days = pd.date_range("2024-01-01", periods=200, freq="D")
        >>> sales = pd.DataFrame({"date": days, "sold": 10 + np.sin(np.arange(200) * 2 * np.pi / 7)})
        >>> len(forecast(sales, 14, epochs=1))
        14
    """
    if checkpoint is None:
        table = from_frame(frame, date_column=date_column, target=target)
        ahead = train_on(plan(table, horizon, _recipe(recipe)), _recipe(recipe), progress=progress).future()
    else:
        if recipe:
            raise UserError(f"a checkpoint is not trained: {', '.join(recipe)} can't be used", hint="leave them out")
        net = _forecaster(checkpoint)
        table = from_frame(frame, date_column=date_column, target=net.facts["columns"])
        ahead = _select(from_checkpoint(net, table, horizon), target)
    return _as_given(ahead, frame, table)


def from_checkpoint(net: nn.Module, table: Table, horizon: int) -> pd.DataFrame:
    """Forecast with a trained model; the table holds its columns, in its order.

    Raises:
        UserError: another frequency, a longer horizon than it was trained for, or too few rows.
    """
    facts = net.facts
    length = facts["input_size"]
    if table.frequency != facts["frequency"]:
        raise UserError(
            "the checkpoint was trained on data of another frequency",
            expected=f"a row every {facts['frequency']!r}",
            found=repr(table.frequency),
            hint="resample the table, or leave --ckpt out to train on it",
        )
    if not 1 <= horizon <= facts["horizon"]:
        raise UserError(
            "the checkpoint can't forecast that far" if horizon > 0 else "the horizon must be positive",
            expected=f"a horizon of 1 to {facts['horizon']}",
            found=str(horizon),
            hint="lower --horizon, or leave --ckpt out to train for it",
        )
    if len(table.values) < length:
        raise UserError(
            "the table is too short for the checkpoint",
            expected=f"at least {length} rows",
            found=f"{len(table.values)}",
        )
    scales = [facts["scaler"][name] for name in facts["columns"]]
    scaler = Scaler(np.array([s["mean"] for s in scales]), np.array([s["std"] for s in scales]))
    with torch.no_grad():
        ahead_HN = net(scaler.scale(table.values.to_numpy()[-length:])[None])[0, :horizon]
    return pd.DataFrame(scaler.unscale(ahead_HN), index=table.future_dates(horizon), columns=table.columns)


def main(argv: list[str]) -> int:
    """``gated timeseries forecast``."""
    args = _parser().parse_args(argv)
    for path, suffix in ((args.out, ".csv"), (args.plot, ".png")):
        if path and Path(path).suffix.lower() != suffix:
            raise UserError(
                f"the output {path} has the wrong ending", expected=suffix, found=Path(path).suffix or "none"
            )
    if Path(args.out).resolve() == Path(args.csv).resolve():
        raise UserError("the forecast would overwrite the input", found=args.out, hint="give -o another name")
    if args.ckpt:
        net = _forecaster(args.ckpt)
        table = read_table(args.csv, date_column=args.date_column, target=net.facts["columns"])
        ahead, study = _select(from_checkpoint(net, table, args.horizon), args.target), None
        _tell(table)
    else:
        recipe = Recipe(epochs=args.epochs, seed=args.seed, input_size=args.input_size)
        table = read_table(args.csv, date_column=args.date_column, target=args.target)
        data = plan(table, args.horizon, recipe)
        _tell(table)
        study = train_on(data, recipe)
        ahead = study.future()
        print(_comparison(study))
    write_table(args.out, ahead, table.layout)
    print(f"forecast of {len(ahead)} rows: {args.out}")
    if args.plot:
        from tasks.timeseries.figures import plot_forecast

        plot_forecast(table, ahead, Path(args.plot), hindcast=study.hindcast() if study else None)
        print(f"plot: {args.plot}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "gated timeseries forecast",
        description="Forecast the rows that follow a CSV with a date column. Without --ckpt a small Gateformer is "
        "trained on it, and compared with simple forecasts on rows that were held out.",
    )
    parser.add_argument("csv", metavar="CSV", help="one row a date, a column of dates, columns of numbers")
    parser.add_argument("--horizon", type=int, required=True, help="rows to forecast")
    parser.add_argument("-o", "--out", default="forecast.csv", help="CSV to write (forecast.csv)")
    parser.add_argument("--plot", metavar="PNG", help="picture to write")
    parser.add_argument("--ckpt", help="a .ckpt of `gated timeseries fit`, or an exported folder, instead of training")
    parser.add_argument("--target", nargs="+", metavar="COL", help="columns to forecast (all)")
    parser.add_argument("--date-column", metavar="COL", help="the date column (found by name or content)")
    parser.add_argument("--input-size", type=int, help="rows to look back (two seasons or two horizons)")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs, help=f"train at most as long ({Recipe.epochs})")
    parser.add_argument("--seed", type=int, default=Recipe.seed, help=f"of weights and order ({Recipe.seed})")
    return parser


def _forecaster(checkpoint: str | Path) -> nn.Module:
    """Load a checkpoint and check that it forecasts."""
    net = load(checkpoint)
    if any(name not in net.facts for name in _FACTS):
        raise UserError(
            "this checkpoint was not trained on a table of series",
            expected="a checkpoint of `gated timeseries fit`",
            found=f"{type(net).__name__} with facts {sorted(net.facts)}",
        )
    return net


def _recipe(options: dict[str, Any]) -> Recipe:
    known = list(Recipe.__dataclass_fields__)
    for name in options:
        if name not in known:
            raise UserError(f"forecast has no option {name!r}", hint=did_you_mean(name, known))
    return Recipe(**options)


def _select(ahead: pd.DataFrame, target: str | Sequence[str] | None) -> pd.DataFrame:
    """Return the wanted columns of a forecast."""
    wanted = [target] if isinstance(target, str) else list(target or ahead.columns)
    for name in wanted:
        if name not in ahead.columns:
            raise UserError(f"the checkpoint does not forecast {name!r}", hint=did_you_mean(name, list(ahead.columns)))
    return ahead[wanted]


def _as_given(ahead: pd.DataFrame, frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Bring a forecast into the layout of the frame that was given."""
    date = table.layout.date_column
    if date is None:
        return ahead
    was_text = not pd.api.types.is_datetime64_any_dtype(frame[date])
    dates = table.layout.date_format.write(ahead.index) if was_text else ahead.index
    out = ahead.reset_index(drop=True)
    out[date] = dates
    return out[[name for name in table.layout.columns if name in out.columns]]


def _tell(table: Table) -> None:
    first, last = (table.layout.date_format.write(table.values.index[[row]])[0] for row in (0, -1))
    print(f"{len(table.values)} rows from {first} to {last}, one every {table.frequency}; {len(table.columns)} series")
    for note in table.notes:
        print(f"note: {note}")


def _comparison(study: Study) -> str:
    """Return the table of errors and the verdict."""
    windows = study.data.windows("test")
    dates = study.data.table.layout.date_format.write(study.data.table.values.index[[study.data.borders.val, -1]])
    width = max(map(len, study.scores))
    rows = [f"  {name:<{width}}  {score.mse:8.4f}  {score.mae:8.4f}" for name, score in study.scores.items()]
    return "\n".join(
        [
            f"\non {len(windows)} held-out windows, {dates[0]} to {dates[1]} (standardised values, lower is better):",
            f"  {'':<{width}}  {'MSE':>8}  {'MAE':>8}",
            *rows,
            study.verdict(),
            "",
        ]
    )
