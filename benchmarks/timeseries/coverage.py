"""Measure how many held-out values the conformal intervals hold, beside what they promise.

    python -m benchmarks.timeseries.coverage --data-dir DIR

DIR holds ETTh1.csv, ETTh2.csv and exchange_rate.csv; M3 and the statistical methods come with requirements.txt. Each
table is measured within the borders of its benchmark and within those that the command chooses itself, around every
method that the command tries (seed 0). Errors become known to the intervals row by row, as they would in use. Writes
benchmarks/results/timeseries_coverage.csv; takes about 40 minutes on one core, a third of them for AutoETS on M3.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.timeseries import render
from benchmarks.timeseries.competitions import MONTHS, last_rows, m3_monthly
from tasks.timeseries.conformal import Intervals
from tasks.timeseries.data import ett_borders, share_borders
from tasks.timeseries.plan import Plan, plan
from tasks.timeseries.reading import read_table
from tasks.timeseries.study import Study, compare
from tasks.timeseries.table import Table

LEVELS = (80, 90, 95)
HORIZONS = (24, 96)
RESULT = Path(__file__).resolve().parents[1] / "results" / "timeseries_coverage.csv"
COMMAND = "python -m benchmarks.timeseries.coverage --data-dir DIR"


def cases(folder: Path) -> Iterator[tuple[str, str, Table, int, Plan | None]]:
    """Yield the name of each table, whose borders, the table, the horizon, and what is held out if it is given."""
    for name in ("ETTh1", "ETTh2", "exchange_rate"):
        table = read_table(folder / f"{name}.csv")
        official = (
            ett_borders(table.lengths, table.frequency)
            if name.startswith("ETT")
            else share_borders(table.lengths, (0.7, 0.1, 0.2))
        )
        for horizon in HORIZONS:
            yield name, "benchmark", table, horizon, plan(table, horizon, borders=official)
            yield name, "tool", table, horizon, None
    table = m3_monthly()
    yield "M3-monthly", "benchmark", table, MONTHS, last_rows(table, MONTHS)


def measure(study: Study) -> Iterator[dict[str, object]]:
    """Yield a row for each method and level; widths are in mean absolute deviations of each series."""
    for name in study.backtest.methods:
        result = study.errors if name == study.chosen else study.backtest
        intervals = Intervals.of(result, name, LEVELS)
        truth = result.truth["test"]
        spread = _deviation(result.table)[result.plan.test.group][:, None]
        low, high = intervals.held_out()
        for index, (level, share) in enumerate(intervals.coverage().items()):
            judged = ~np.isnan(truth)
            width = ((high[index] - low[index]) / spread)[judged].mean()
            chosen = "yes" if name == study.chosen else ""
            row = {"method": name, "chosen": chosen, "level": level, "coverage": share, "mean_width": width}
            yield row | {"origins": len(result.plan.test.row)}


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
    for name, whose, table, horizon, held in cases(folder):
        study = compare(table, horizon, held_out=held)
        head = {"data": name, "borders": whose, "horizon": horizon}
        new = [head | row | {"command": COMMAND} for row in measure(study)]
        rows += new
        print(pd.DataFrame(new).drop(columns="command").to_string(index=False, float_format="%.3f"), flush=True)
    pd.DataFrame(rows).to_csv(RESULT, index=False, float_format="%.4f")
    render.main()


if __name__ == "__main__":
    main()
