"""Measure how many held-out values the conformal intervals hold, beside what they promise.

    python -m benchmarks.timeseries.coverage --data-dir DIR

DIR holds ETTh1.csv, ETTh2.csv and exchange_rate.csv; M3 comes with a package of requirements.txt. Each table is
measured within the borders of its benchmark and within those that the tool chooses itself. Errors become known to the
intervals row by row, as they would in use. Writes benchmarks/results/timeseries_coverage.csv; takes about 3 minutes on
one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.timeseries import render
from benchmarks.timeseries.competitions import HORIZON, m3_monthly
from tasks.timeseries.backtest import backtest
from tasks.timeseries.conformal import Intervals
from tasks.timeseries.data import Borders, ett_borders, share_borders
from tasks.timeseries.methods import Linear, Method, SeasonalNaive, statistical_methods
from tasks.timeseries.plan import Plan, plan
from tasks.timeseries.reading import read_table
from tasks.timeseries.table import Table

LEVELS = (80, 90, 95)
HORIZONS = (24, 96)
RESULT = Path(__file__).resolve().parents[1] / "results" / "timeseries_coverage.csv"
COMMAND = "python -m benchmarks.timeseries.coverage --data-dir DIR"


def cases(folder: Path) -> Iterator[tuple[str, str, Table, Plan, list[Method]]]:
    """Yield the name of each table, whose borders, the table, what is held out, and the methods."""
    for name in ("ETTh1", "ETTh2", "exchange_rate"):
        table = read_table(folder / f"{name}.csv")
        official = (
            ett_borders(table.lengths, table.frequency)
            if name.startswith("ETT")
            else share_borders(table.lengths, (0.7, 0.1, 0.2))
        )
        for horizon in HORIZONS:
            for whose, borders in (("benchmark", official), ("tool", None)):
                yield name, whose, table, plan(table, horizon, borders=borders), [SeasonalNaive(1), Linear(96)]
    table = m3_monthly()
    borders = Borders(table.lengths - 2 * HORIZON, table.lengths - HORIZON, table.lengths)
    fast = [method for method in statistical_methods()[0] if method.name == "Theta"]
    methods = [SeasonalNaive(12), Linear(), *fast]
    yield "M3-monthly", "benchmark", table, plan(table, HORIZON, borders=borders), methods


def measure(table: Table, held: Plan, methods: list[Method]) -> Iterator[dict[str, object]]:
    """Yield a row for each method and level; widths are in mean absolute deviations of each series."""
    result = backtest(table, held.horizon, methods, plan=held)
    truth = result.truth["test"]
    spread = _deviation(table)[held.test.group][:, None]
    for name in result.methods:
        intervals = Intervals.of(result, name, LEVELS)
        low, high = intervals.held_out()
        for index, (level, share) in enumerate(intervals.coverage().items()):
            judged = ~np.isnan(truth)
            width = ((high[index] - low[index]) / spread)[judged].mean()
            chosen = "yes" if name == result.choice else ""
            yield {"method": name, "chosen": chosen, "level": level, "coverage": share, "mean_width": width}


def _deviation(table: Table) -> np.ndarray:
    """Return the mean absolute deviation of each series, ``[G, N]``; NaN where it never changes."""
    groups = np.repeat(np.arange(len(table.ids)), table.lengths)
    values = table.values[table.columns]
    far = (values - values.groupby(groups).transform("mean")).abs().groupby(groups).mean().to_numpy()
    return np.where(far > 0, far, np.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder of the three CSVs")
    folder = parser.parse_args().data_dir
    torch.set_num_threads(1)
    rows = []
    for name, whose, table, held, methods in cases(folder):
        head = {"data": name, "borders": whose, "horizon": held.horizon}
        tail = {"origins": len(held.test.row), "command": COMMAND}
        new = [head | row | tail for row in measure(table, held, methods)]
        rows += new
        print(pd.DataFrame(new).drop(columns="command").to_string(index=False, float_format="%.3f"), flush=True)
    pd.DataFrame(rows).to_csv(RESULT, index=False, float_format="%.4f")
    render.main()


if __name__ == "__main__":
    main()
