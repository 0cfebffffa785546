"""The strong simple forecast: one linear map from past to future, in closed form."""

from __future__ import annotations

import numpy as np

from tasks.timeseries.least_squares import RIDGE, linear_map
from tasks.timeseries.methods.base import Origins, default_input_size, past_of
from tasks.timeseries.panel import Panel, Scaler
from tasks.timeseries.table import Table
from tasks.timeseries.windows import Windows


class Linear:
    """One linear map from the past to the forecast, shared by all series and groups (ordinary least squares).

    Each window is centred on its own mean, so the map needs no bias and its forecast moves and scales with the series.
    With the same look-back it beats most transformers published from 2021 to 2024 on the long-horizon benchmarks.

    Args:
        input_size: steps to look back; two seasons or two horizons where not given.
        ridge: relative to the mean square of the inputs; it only guards the solve.
    """

    name = "linear"

    def __init__(self, input_size: int | None = None, *, ridge: float = RIDGE) -> None:
        self.input_size, self.ridge = input_size, ridge
        self.weight_LH = np.zeros((0, 0))

    def fit(self, table: Table, horizon: int, train: np.ndarray) -> None:
        """Solve for the map on standardised windows (see :func:`tasks.timeseries.least_squares.linear_map`)."""
        length = self.input_size or default_input_size(table, horizon, train)
        self.weight_LH = linear_map(_training_windows(table, horizon, length, train), self.ridge).numpy()

    def predict(self, table: Table, horizon: int, origins: Origins) -> np.ndarray:
        """Return the mapped past, moved back to its mean, ``[K, horizon, N]``."""
        x_KLN = past_of(table, origins, len(self.weight_LH))
        mean = x_KLN.mean(axis=1, keepdims=True)
        return np.tensordot(self.weight_LH, x_KLN - mean, axes=(0, 1)).transpose(1, 0, 2)[:, :horizon] + mean


def _training_windows(table: Table, horizon: int, length: int, train: np.ndarray) -> Windows:
    """Return all windows whose targets are training rows; the past may begin before the group, except in a lone one."""
    lone = len(train) == 1 and train[0] >= length + horizon
    padding = np.zeros_like(train) if lone else np.full_like(train, length - 1)
    first = np.where(padding > 0, 1, length)
    counts = np.maximum(0, train - horizon - first + 1)
    panel = Panel.build(table, Scaler.fit(table, train), horizon=horizon, padding=padding)
    return Windows(panel, input_size=length, horizon=horizon, first=first, counts=counts)
