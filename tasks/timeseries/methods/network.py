"""A Gateformer trained on the table itself, behind the interface of every method."""

from __future__ import annotations

import math

import numpy as np
import torch

from tasks.timeseries.data import Borders, TableWindows
from tasks.timeseries.forecast import point
from tasks.timeseries.methods.base import Origins, default_input_size
from tasks.timeseries.models import Gateformer
from tasks.timeseries.panel import Panel, Scaler
from tasks.timeseries.recipe import Recipe
from tasks.timeseries.table import Table
from tasks.timeseries.training import fit
from tasks.timeseries.windows import Windows

_MIN_EPOCHS, _BATCH = 10, 256


class Network:
    """A small Gateformer whose shortcut starts as the fitted linear map: it learns what that one misses.

    Args:
        recipe: how to build and train it.
        progress: draw a bar while training.
    """

    name = "Gateformer"

    def __init__(self, recipe: Recipe | None = None, *, progress: bool = False) -> None:
        self.recipe, self.progress = recipe or Recipe(), progress
        self.net: Gateformer
        self.data: TableWindows

    def fit(self, table: Table, horizon: int, train: np.ndarray) -> None:
        """Train on the first ``train [G]`` rows of each group."""
        recipe = self.recipe
        length = recipe.input_size or default_input_size(table, horizon, train)
        batch_size = max(8, min(_BATCH, _BATCH // len(table.columns)))
        borders = Borders(train, train, train)
        data = TableWindows(
            table, input_size=length, horizon=horizon, split=borders, batch_size=batch_size, seed=recipe.seed
        )
        windows = len(data.windows("train"))
        epochs = max(1, min(recipe.epochs, max(_MIN_EPOCHS, math.ceil(recipe.steps * batch_size / windows))))
        data.max_windows = math.ceil(recipe.steps * batch_size / epochs)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            net = Gateformer(
                length,
                horizon,
                d_model=recipe.d_model,
                d_ff=recipe.d_ff,
                num_layers=recipe.num_layers,
                num_heads=4,
                patch_size=min(8, length),
                stride=min(8, length),
                dropout=recipe.dropout,
                shortcut=True,
                num_past=data.num_past,
                num_future=data.num_future,
                num_static=data.num_static,
            )
        fit(net, data, epochs=epochs, seed=recipe.seed, progress=self.progress, lr=recipe.lr, loss="mae")
        data.trainer = None  # it holds the optimizer's state, and can't be pickled
        self.net, self.data = net, data

    def predict(self, table: Table, horizon: int, origins: Origins) -> np.ndarray:
        """Return the forecasts ``[K, horizon, N]``."""
        return predict_at(self.net, table, self.data.scaler, horizon, origins)


def trainable(table: Table, horizon: int, train: np.ndarray, recipe: Recipe) -> bool:
    """Whether there is a single window to train on."""
    length = recipe.input_size or default_input_size(table, horizon, train)
    return bool(np.max(train) >= horizon + (length if len(train) == 1 else 1))


def predict_at(net: Gateformer, table: Table, scaler: Scaler, horizon: int, origins: Origins) -> np.ndarray:
    """Forecast with a network from any origins of a table, ``[K, horizon, N]`` in its units.

    Args:
        net: the network.
        table: the series.
        scaler: their scales.
        horizon: steps wanted, at most the network's.
        origins: where to begin.
    """
    padding = np.full_like(table.lengths, net.input_size)
    panel = Panel.build(table, scaler, horizon=net.horizon, padding=padding)
    windows = Windows(panel, input_size=net.input_size, horizon=net.horizon, first=table.lengths, counts=padding)
    size = max(1, _BATCH * 16 // len(table.columns))
    parts = []
    for start in range(0, len(origins.row), size):
        batch = windows.at(origins.group[start : start + size], origins.row[start : start + size])
        with torch.no_grad():
            ahead_KHN = point(net, batch)[:, :horizon]
        parts.append(scaler.unscale(ahead_KHN, origins.group[start : start + size]))
    return np.concatenate(parts)
