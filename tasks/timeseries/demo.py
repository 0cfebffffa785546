"""The forecasting part of ``gated demo``: weekly influenza reports, 24 weeks ahead, beside the simple forecasts."""

from __future__ import annotations

from pathlib import Path

import torch

from gated.engine.report import Section
from tasks.timeseries.data import TableWindows
from tasks.timeseries.figures import plot_forecast, plot_gates, plot_held_out
from tasks.timeseries.study import LAST, Recipe, roll, train_on
from tasks.timeseries.table import read_table, write_table

HORIZON, INPUT_SIZE = 24, 104  # half a year ahead from two years, two whole seasons
SHOWN = ["% WEIGHTED ILI", "ILITOTAL", "OT"]


def run(out: Path) -> Section:
    """Train, measure on the last fifth of the weeks, forecast the next 24, and draw it all.

    Args:
        out: folder for the forecast CSV and the pictures.
    """
    table = read_table("national_illness")
    data = TableWindows(table, input_size=INPUT_SIZE, horizon=HORIZON, split=(0.7, 0.1, 0.2))
    study = train_on(data, Recipe())
    ahead = study.future()
    write_table(out / "forecast.csv", ahead, table.layout)
    rows = range(len(table.values) - held_out_stretches(data) * HORIZON, len(table.values), HORIZON)
    drawn = {name: p for name, p in study.predictors.items() if name != LAST}
    held_out = plot_held_out(
        table,
        {name: [roll(predictor, data, row) for row in rows] for name, predictor in drawn.items()},
        out / "held_out.png",
        history=HORIZON,
        title="Held-out weeks: at each vertical line starts a forecast that knows only what is left of it",
        names=SHOWN,
    )
    future = plot_forecast(table, ahead, out / "forecast.png", hindcast=study.hindcast())
    past = data.scaler.scale(table.values.to_numpy()[-INPUT_SIZE:])
    with torch.no_grad():
        gates = study.net.forward_with_gates(past[None])[1]
    metrics: dict[str, float | str] = {}
    for name, score in study.scores.items():
        metrics[f"{name}: test MSE"], metrics[f"{name}: test MAE"] = score
    windows = data.windows("test")
    return Section(
        "Forecasting: a Gateformer on weekly influenza reports",
        f"A model of {sum(p.numel() for p in study.net.parameters()):,} weights was trained on the first 70 % of "
        f"{len(table.values)} weeks of seven series (CDC, public domain), stopped by the next 10 % and judged on "
        f"{len(windows)} windows of the last 20 %, each {HORIZON} weeks ahead from {INPUT_SIZE}. Errors are on values "
        f"standardised by the training weeks. {study.verdict()}\n\n"
        f"The forecast of the {HORIZON} weeks that follow is in forecast.csv, in the layout of the input.",
        metrics=metrics,
        figures=[
            (held_out, "What happened in the held-out weeks and what the model and the simple forecasts said of them."),
            (future, "The last weeks, the model's forecast of the final known ones (dashed) and of those that follow."),
            (
                plot_gates(gates, table.columns, out / "gates.png"),
                "The two gates on the last window, averaged beside each name: left, whether a series is seen as "
                "one whole window or through its patches; right, whether it keeps to itself or listens to the others.",
            ),
        ],
    )


def held_out_stretches(data: TableWindows) -> int:
    """Return how many whole horizons fit into the test part."""
    return (data.borders.test - data.borders.val) // data.horizon
