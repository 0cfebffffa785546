"""Means and deviations over seeds, and over the horizons of a data set, of the runs of ``long_horizon``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parents[1] / "results"
_BY = ["study", "data", "look_back", "variant"]


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each study, data set, look-back, variant and horizon, and one for the mean of all horizons.

    The deviation (ddof 1) is that over seeds; of the mean over horizons, that of the seeds' means. Empty for one seed.
    """
    runs = runs.assign(data=runs["config"].str.split("_").str[0], variant=runs["variant"].fillna(""))
    runs = runs.assign(look_back=runs["look_back"].fillna(0).astype(int), seed=runs["seed"].fillna(0).astype(int))
    metrics = ["test_mse", "test_mae"]
    each = runs.groupby([*_BY, "horizon"])[metrics].agg(["mean", "std", "count"])
    full = runs.groupby([*_BY, "seed"])["horizon"].transform("nunique") == 4
    seeds = runs[full].groupby([*_BY, "seed"])[metrics].mean()
    overall = seeds.groupby(_BY).agg(["mean", "std", "count"])
    overall["horizon"] = "mean"
    table = pd.concat([each.reset_index(), overall.reset_index()], ignore_index=True)
    table.columns = ["_".join(filter(None, map(str, name))) for name in table.columns]
    table = table.rename(columns={"test_mse_count": "seeds"}).drop(columns="test_mae_count")
    order = [*_BY, "horizon", "seeds", *(f"{m}_{s}" for m in metrics for s in ("mean", "std"))]
    table["look_back"] = table["look_back"].replace(0, "")
    return table[order].round(4).sort_values([*_BY[:2], "variant"], kind="stable", ignore_index=True)


def main() -> None:
    runs = pd.read_csv(RESULTS / "timeseries_runs.csv", dtype={"horizon": str})
    summarise(runs).to_csv(RESULTS / "timeseries.csv", index=False)


if __name__ == "__main__":
    main()
