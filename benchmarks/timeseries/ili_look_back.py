"""Choose the look-back of the influenza demo by rolling origin, on rows before the demo's held-out part alone.

    python benchmarks/timeseries/ili_look_back.py

For each look-back and each origin the table is cut at the origin, the last fifth of what is left is forecast, and the
errors are written to benchmarks/results/ili_look_back.csv. The demo itself holds out the last fifth of the whole table.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import torch

from tasks.timeseries.data import TableWindows
from tasks.timeseries.study import MODEL, Recipe, train_on
from tasks.timeseries.table import read_table

LOOK_BACKS = (52, 104)
ORIGINS = (0.5, 0.6, 0.7, 0.8)
HORIZON = 24


def main() -> None:
    torch.set_num_threads(1)
    table = read_table("national_illness")
    result = Path(__file__).resolve().parents[1] / "results" / "ili_look_back.csv"
    with result.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["look_back", "rows_share", "mse", "mae", "seasonal_naive_mse", "linear_mse"])
        for look_back in LOOK_BACKS:
            errors = []
            for share in ORIGINS:
                cut = dataclasses.replace(table, values=table.values.iloc[: int(share * len(table.values))])
                data = TableWindows(cut, input_size=look_back, horizon=HORIZON, split=(0.7, 0.1, 0.2))
                scores = train_on(data, Recipe(), progress=False).scores
                own, season, linear = scores[MODEL], scores["seasonal-naive (52)"], scores["linear model"]
                out.writerow([look_back, share, *(f"{v:.3f}" for v in (own.mse, own.mae, season.mse, linear.mse))])
                file.flush()
                errors.append(own.mse)
            print(f"look-back {look_back}: mean MSE {sum(errors) / len(errors):.3f} over {len(ORIGINS)} origins")


if __name__ == "__main__":
    main()
