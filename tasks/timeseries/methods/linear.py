"""The strong simple forecast: one linear map from past to future, in closed form."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from tasks.timeseries.methods.base import Origins, default_input_size, past_of
from tasks.timeseries.panel import Panel, Scaler
from tasks.timeseries.table import Table
from tasks.timeseries.windows import Windows

_RIDGE = 1e-6
_MAX_ROWS = 200_000
_BATCH = 256


class Linear:
    """One linear map from the past to the forecast, shared by all series and groups (ordinary least squares).

    Each window is centred on its own mean, so the map needs no bias and its forecast moves and scales with the series.
    With the same look-back it beats most transformers published from 2021 to 2024 on the long-horizon benchmarks.

    Args:
        input_size: steps to look back; two seasons or two horizons where not given.
        ridge: relative to the mean square of the inputs; it only guards the solve.
    """

    name = "linear"

    def __init__(self, input_size: int | None = None, *, ridge: float = _RIDGE) -> None:
        self.input_size, self.ridge = input_size, ridge
        self.weight_LH = np.zeros((0, 0))

    def fit(self, table: Table, horizon: int, train: np.ndarray) -> None:
        """Solve for the map on standardised windows; a missing target drops out of the equations of its step alone."""
        length = self.input_size or default_input_size(table, horizon, train)
        gram = torch.zeros(length, length, dtype=torch.float64)
        cross = torch.zeros(length, horizon, dtype=torch.float64)
        incomplete = [torch.zeros(0, length, dtype=torch.float64)]
        gaps = [torch.zeros(0, horizon, dtype=torch.bool)]
        for x_ML, y_MH in _equations(_training_windows(table, horizon, length, train)):
            gone = y_MH.isnan()
            gram += x_ML.T @ x_ML
            cross += x_ML.T @ y_MH.masked_fill(gone, 0.0)
            some = gone.any(dim=1)
            incomplete.append(x_ML[some])
            gaps.append(gone[some])
        x_ML, gone_MH = torch.cat(incomplete), torch.cat(gaps)
        guard = self.ridge * gram.diagonal().mean().clamp(min=1e-12) * torch.eye(length, dtype=torch.float64)
        weight = torch.linalg.solve(gram + guard, cross)
        for step in torch.nonzero(gone_MH.any(dim=0)).flatten().tolist():
            left_out = x_ML[gone_MH[:, step]]
            weight[:, step] = torch.linalg.solve(gram - left_out.T @ left_out + guard, cross[:, step])
        self.weight_LH = weight.numpy()

    def predict(self, table: Table, horizon: int, origins: Origins) -> np.ndarray:
        """Return the mapped past, moved back to its mean, ``[K, horizon, N]``."""
        x_KLN = past_of(table, origins, len(self.weight_LH))
        mean = x_KLN.mean(axis=1, keepdims=True)
        return np.tensordot(self.weight_LH, x_KLN - mean, axes=(0, 1)).transpose(1, 0, 2)[:, :horizon] + mean


def _training_windows(table: Table, horizon: int, length: int, train: np.ndarray) -> Windows:
    """Return every window whose targets are training rows; the past may begin before the group, except in a lone one."""
    lone = len(train) == 1 and train[0] >= length + horizon
    padding = np.zeros_like(train) if lone else np.full_like(train, length - 1)
    first = np.where(padding > 0, 1, length)
    counts = np.maximum(0, train - horizon - first + 1)
    panel = Panel.build(table, Scaler.fit(table, train), horizon=horizon, padding=padding)
    return Windows(panel, input_size=length, horizon=horizon, first=first, counts=counts)


def _equations(windows: Windows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield centred inputs ``[M, L]`` and targets ``[M, H]``, at most ``_MAX_ROWS`` in all, evenly spread."""
    series = windows.panel.num_targets
    keep = max(1, -(-len(windows) * series // _MAX_ROWS))
    for start in range(0, len(windows), _BATCH * keep):
        chosen = range(start, min(start + _BATCH * keep, len(windows)), keep)
        batch = windows.__getitems__(chosen)
        mean = batch.x.mean(dim=1, keepdim=True)
        yield tuple(
            (part - mean).transpose(1, 2).reshape(len(chosen) * series, -1).double() for part in (batch.x, batch.y)
        )
