"""``gated timeseries forecast`` and ``gated timeseries backtest``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from gated.cli.main import Parser
from gated.engine.allocator import return_freed_memory
from gated.errors import UserError
from tasks.timeseries.reading import read_table, write_table
from tasks.timeseries.reading.options import add_reading_options, reading_options
from tasks.timeseries.recipe import Recipe
from tasks.timeseries.request import check_names, shares
from tasks.timeseries.table import Table

if TYPE_CHECKING:
    from tasks.timeseries.study import Study

_LEVEL = 90.0


def forecast(argv: list[str]) -> int:
    """``gated timeseries forecast``: a CSV in, the rows that follow out."""
    parser = _parser(
        "forecast",
        "Forecast the rows that follow a CSV. Several methods, a small Gateformer trained on the table among them, "
        "forecast rows that are held out; the one that wins on validation forecasts. With --ckpt a trained model does.",
    )
    parser.add_argument("-o", "--out", default="forecast.csv", help="CSV to write (forecast.csv)")
    parser.add_argument("--plot", metavar="PNG", help="picture to write")
    parser.add_argument(
        "--level", nargs="*", type=float, metavar="PERCENT", help="levels of the intervals to write (90)"
    )
    parser.add_argument("--ckpt", help="a .ckpt of `gated timeseries fit`, or an exported folder, instead of training")
    args = parser.parse_args(argv)
    _check_outputs(args.csv, {args.out: ".csv", args.plot: ".png"})
    levels = shares(args.level if args.level is not None else [] if args.ckpt else [_LEVEL])
    study = None
    if args.ckpt:
        if levels or args.model:
            raise UserError(
                "a checkpoint gives no intervals and no choice of method",
                hint="leave --level and --model out, or leave --ckpt out to compare methods on rows held out",
            )
        from tasks.timeseries.checkpoint import columns_of, forecast_with, load_forecaster

        net = load_forecaster(args.ckpt)
        table = read_table(args.csv, **{**reading_options(args), **columns_of(net)})
        print(_summary(table))
        ahead = forecast_with(net, table, args.horizon, args.target)
    else:
        study = _compare(args, levels)
        table = study.table
        ahead = study.future(levels, progress=_tell)
        if levels:
            print(_coverage(study, levels))
    write_table(args.out, ahead.frame(), table.layout)
    rows = ahead.middle.shape[0] * ahead.middle.shape[1]
    print(f"forecast of {rows} rows by {ahead.method}: {args.out}")
    if args.plot:
        from tasks.timeseries.figures import plot_forecast

        plot_forecast(ahead, Path(args.plot), study=study)
        print(f"plot: {args.plot}")
    return 0


def backtest(argv: list[str]) -> int:
    """``gated timeseries backtest``: how good is each method on rows that it did not see?"""
    parser = _parser(
        "backtest", "Let every method forecast rows that are held out, from many origins, and compare them."
    )
    parser.add_argument("-o", "--out", metavar="CSV", help="CSV to write every forecast of the test rows to")
    args = parser.parse_args(argv)
    _check_outputs(args.csv, {args.out: ".csv"})
    study = _compare(args)
    print(_coverage(study, [_LEVEL]))
    if args.out:
        from gated.engine.files import atomic_path

        with atomic_path(args.out) as temporary:
            study.backtest.to_frame().to_csv(temporary, index=False)
        print(f"forecasts of the test rows: {args.out}")
    print(f"next: gated timeseries forecast {args.csv} --horizon {args.horizon}")
    return 0


def _parser(name: str, description: str) -> Parser:
    parser = Parser(f"gated timeseries {name}", description=description)
    parser.add_argument("csv", metavar="CSV", help="a date column and columns of numbers, wide or long")
    parser.add_argument("--horizon", type=int, required=True, help="rows to forecast")
    parser.add_argument("--model", metavar="NAME", help="the method to use (the one that wins on validation)")
    parser.add_argument("--input-size", type=int, help="rows to look back (two seasons or two horizons)")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help=f"training steps at most ({Recipe.steps})")
    parser.add_argument("--seed", type=int, default=Recipe.seed, help=f"of weights and order ({Recipe.seed})")
    add_reading_options(parser)
    return parser


def _compare(args: object, levels: Sequence[float] = ()) -> Study:
    """Read, compare and print."""
    options = vars(args)
    recipe = Recipe(steps=options["steps"], seed=options["seed"], input_size=options["input_size"])
    table = read_table(options["csv"], **reading_options(args))
    return_freed_memory()
    print(_summary(table), flush=True)
    check_names(table, levels)

    from tasks.timeseries.study import compare  # brings torch, which is not needed while a large file is read

    study = compare(table, options["horizon"], recipe=recipe, model=options["model"], bar=True, progress=_tell)
    print(_comparison(study))
    return study


def _coverage(study: Study, levels: Sequence[float]) -> str:
    """Say how many of the test values the intervals held."""
    held = study.intervals(levels).coverage()
    return "\n".join(
        f"intervals of {level:g} % around {study.chosen} held {100 * share:.1f} % of the test values"
        for level, share in held.items()
    )


def _check_outputs(csv: str, outputs: dict[str | None, str]) -> None:
    """Refuse outputs of the wrong kind before any work is done."""
    for path, suffix in outputs.items():
        if path and Path(path).suffix.lower() != suffix:
            raise UserError(
                f"the output {path} has the wrong ending", expected=suffix, found=Path(path).suffix or "none"
            )
        if path and Path(path).resolve() == Path(csv).resolve():
            raise UserError("the output would overwrite the input", found=path, hint="give -o another name")


def _tell(what: str) -> None:
    print(f"  {what} ...", flush=True)


def _summary(table: Table) -> str:
    """Say what was read, and what was repaired."""
    index = table.values.index
    first, last = index.min(), index.max()
    if isinstance(index, pd.DatetimeIndex):
        first, last = table.layout.date_format.write(pd.DatetimeIndex([first, last]))
    series = len(table.columns) * len(table.ids)
    lines = [f"{len(table.values)} rows from {first} to {last}, one every {table.frequency}; {series} series"]
    return "\n".join([*lines, *(f"note: {note}" for note in table.notes)])


def _comparison(study: Study) -> str:
    """Return the leaderboard and the verdict."""
    result = study.backtest
    board = result.leaderboard()
    counts = {part: len(getattr(result.plan, part).row) for part in ("val", "test")}
    shown = board.round(4).to_string(float_format=lambda value: f"{value:.4f}")
    lines = [
        "",
        f"on {counts['val']} forecasts of validation rows, which choose, and {counts['test']} of test rows, which "
        "judge (MAE and MSE on standardised values, lower is better):",
        shown,
        *(f"note: {note}" for note in result.notes),
        result.verdict(),
    ]
    if study.chosen != result.choice:
        lines.append(f"{study.chosen} forecasts, as asked for.")
    return "\n".join([*lines, ""])
