"""Memory and time of the command on many series: 10,000 of 1,000 days in one long table.

    python -m benchmarks.timeseries.scale [--series 10000] [--rows 1000] [--horizon 28]

Writes a table of its own making (a weekly season and noise at levels from 10 to 1000) into a temporary folder, has
``gated timeseries`` read it and forecast it, and writes the peak memory and the seconds of each command, start and all,
to ``benchmarks/results/timeseries_scale.csv``.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.timeseries import render

RESULTS = Path(__file__).parents[1] / "results" / "timeseries_scale.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--horizon", type=int, default=28)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "table.csv", Path(folder) / "forecast.csv"
        write_table(table, args.series, args.rows)
        start = [sys.executable, "-m", "tasks.timeseries"]
        commands = {
            "check-data": ["check-data", str(table)],
            "forecast": ["forecast", str(table), "--horizon", str(args.horizon), "-o", str(out)],
        }
        with RESULTS.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("command", "series", "rows", "minutes", "peak MB"))
            for name, command in commands.items():
                seconds, peak = measured([*start, *command])
                writer.writerow((name, args.series, args.rows, f"{seconds / 60:.1f}", round(peak)))
                file.flush()
        ahead = pd.read_csv(out)
        assert len(ahead) == args.series * args.horizon
        assert ahead.notna().all(axis=None)
    render.main()


def write_table(path: Path, series: int, rows: int) -> None:
    """Write a long table, one series after the other."""
    random, day = np.random.default_rng(0), np.arange(rows)
    dates = pd.date_range("2022-01-01", periods=rows).strftime("%Y-%m-%d")
    with path.open("w") as file:
        file.write("unique_id,ds,y\n")
        for name in range(series):
            shape = 1 + 0.3 * np.sin(2 * np.pi * day / 7) + 0.1 * random.normal(size=rows)
            values = random.uniform(10, 1000) * shape
            file.writelines(f"s{name},{date},{value:.2f}\n" for date, value in zip(dates, values, strict=True))


def measured(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds and its peak memory in MB."""
    began = time.perf_counter()
    process = os.spawnvp(os.P_NOWAIT, command[0], command)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
