"""The simple forecasts on the benchmark's windows: what every model has to beat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.timeseries.jobs import HORIZONS
from tasks.timeseries.data import TableWindows
from tasks.timeseries.methods import Linear, Method, Origins, SeasonalNaive, season_length
from tasks.timeseries.table import Table

_BATCH = 500


def floors(config: str, table: Table, split: Any) -> Iterator[dict[str, Any]]:
    """Yield the errors of each simple forecast at each horizon, on every test window."""
    look_backs = (104,) if config == "ili" else (96, 512) if split == "ett" else (96,)
    for horizon in HORIZONS[config]:
        season = season_length(table)
        methods: list[tuple[Method, int | str]] = [(SeasonalNaive(1), ""), (SeasonalNaive(season), "")]
        methods += [(Linear(length), length) for length in look_backs]
        for method, length in methods:
            data = TableWindows(table, input_size=length or 1, horizon=horizon, split=split)
            method.fit(table, horizon, data.borders.train)
            windows = data.windows("test")
            group, row = windows.origins(range(len(windows)))
            squared, absolute = [], []
            for start in range(0, len(row), _BATCH):
                some = Origins(group[start : start + _BATCH], row[start : start + _BATCH])
                ahead = method.predict(table, horizon, some)
                truth = table.values.to_numpy()[some.row[:, None] + np.arange(horizon)]
                miss = (ahead - truth) / data.scaler.std[0]
                squared.append(np.square(miss).mean(axis=(1, 2)))
                absolute.append(np.abs(miss).mean(axis=(1, 2)))
            errors = (np.concatenate(part).mean() for part in (squared, absolute))
            yield {
                **{
                    "study": "floors",
                    "config": config,
                    "horizon": horizon,
                    "variant": method.name,
                    "look_back": length,
                },
                **{name: f"{value:.5f}" for name, value in zip(("test_mse", "test_mae"), errors, strict=True)},
            }
