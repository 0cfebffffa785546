"""The forecasting part of ``gated demo``: weekly influenza reports, 24 weeks ahead, beside the simple forecasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gated.engine.report import Section
from tasks.timeseries.data import share_borders
from tasks.timeseries.figures import hindcast, plot_forecast, plot_gates, plot_held_out
from tasks.timeseries.methods.network import Network
from tasks.timeseries.plan import plan
from tasks.timeseries.reading import read_table, write_table
from tasks.timeseries.recipe import Recipe
from tasks.timeseries.study import compare

HORIZON, LEVEL = 24, 90.0  # half a year ahead
SHOWN = ["% WEIGHTED ILI", "ILITOTAL", "OT"]
DRAWN = ["Gateformer", "linear", "seasonal-naive (52)"]


def run(out: Path) -> Section:
    """Compare on the last weeks, forecast the next 24, and draw it all.

    Args:
        out: folder for the forecast CSV and the pictures.
    """
    table = read_table("national_illness")
    borders = share_borders(table.lengths, (0.7, 0.1, 0.2))
    held_out = plan(table, HORIZON, borders=borders, max_origins=len(table.values))
    study = compare(table, HORIZON, recipe=Recipe(), held_out=held_out)
    stretches = int(borders.test[0] - borders.val[0]) // HORIZON
    rows = range(len(table.values) - stretches * HORIZON, len(table.values), HORIZON)
    judged = plot_held_out(
        table,
        {name: [hindcast(study, name, 0, row) for row in rows] for name in DRAWN},
        out / "held_out.png",
        history=HORIZON,
        title="Held-out weeks: at each vertical line starts a forecast that knows only what is left of it",
        names=SHOWN,
    )
    ahead = study.future([LEVEL])
    write_table(out / "forecast.csv", ahead.frame(), table.layout)
    future = plot_forecast(ahead, out / "forecast.png", study=study)
    network = study.backtest.methods[Network.name]
    assert isinstance(network, Network)
    last = network.data.windows("train").at(np.array([0]), table.lengths)
    with torch.no_grad():
        gates = network.net.forward_with_gates(last.x)[1]
    held = study.intervals([LEVEL]).coverage()[LEVEL]
    board = study.backtest.leaderboard()["test"]
    metrics = {
        f"{name}: test {metric}": float(board.loc[name, metric]) for name in board.index for metric in ("MSE", "MAE")
    }
    return Section(
        "Forecasting: a Gateformer on weekly influenza reports",
        f"A model of {sum(p.numel() for p in network.net.parameters()):,} weights was trained on the first 70 % of "
        f"{len(table.values)} weeks of seven series (CDC, public domain). Beside simple methods it forecast the next "
        f"10 %, which choose, and the last 20 %, which judge: {len(held_out.test.row)} windows of {HORIZON} weeks, "
        f"each from the {network.data.input_size} before it. Errors are on values standardised by the training weeks. "
        f"{study.backtest.verdict()}\n\n"
        f"The forecast of the {HORIZON} weeks that follow, by {ahead.method}, is in forecast.csv, in the layout of the "
        f"input, with intervals of {LEVEL:g} %; such intervals held {100 * held:.1f} % of the last 20 %.",
        metrics=metrics,
        figures=[
            (judged, "What happened in the held-out weeks and what the model and the simple forecasts said of them."),
            (future, "The last weeks, the forecast of the final known ones (dashed) and of those that follow."),
            (
                plot_gates(gates, table.columns, out / "gates.png"),
                "The two gates on the last window, averaged beside each name: left, whether a series is seen as "
                "one whole window or through its patches; right, whether it keeps to itself or listens to the others.",
            ),
        ],
    )
