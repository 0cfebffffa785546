"""The errors of point forecasts, a number for each series.

MSE and MAE are on values standardised by the training rows (as the long-horizon benchmarks have them). MASE is the
absolute error over the mean absolute seasonal difference of the rows before the part, sMAPE is
``200 |p - y| / (|p| + |y|)`` (as the M competitions have them).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.timeseries.methods import Origins, season_length, seasonal_scale
from tasks.timeseries.panel import Scaler
from tasks.timeseries.table import Table

METRICS = ("MSE", "MAE", "MASE", "sMAPE")


def errors(
    table: Table, origins: Origins, forecast: np.ndarray, truth: np.ndarray, train: np.ndarray, known: np.ndarray
) -> pd.DataFrame:
    """Return a row for each series (the columns of a group, one group after another), a column for each metric.

    Args:
        table: the series.
        origins: where the forecasts begin.
        forecast: ``[K, H, N]`` in the units of the table.
        truth: alike, NaN where nothing is to be compared.
        train: ``[G]``, rows that standardise.
        known: ``[G]``, rows before the first forecast, that scale MASE.

    Returns:
        NaN for a series without a target, and the MASE of one that never changed.
    """
    std = Scaler.fit(table, train).std[:, None, : truth.shape[-1]]
    scale = seasonal_scale(table, known, season_length(table))[:, None]
    miss = np.abs(forecast - truth)
    size = np.abs(forecast) + np.abs(truth)
    each = {
        "MSE": np.square(miss / std[origins.group]),
        "MAE": miss / std[origins.group],
        "MASE": miss / scale[origins.group],
        "sMAPE": 200 * np.divide(miss, size, out=np.where(np.isnan(size), np.nan, 0.0), where=size > 0),
    }
    return pd.DataFrame({name: _by_series(values, origins.group, len(std)) for name, values in each.items()})


def _by_series(values_KHN: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Return the mean of what is not NaN over the origins and steps of each series, ``[G * N]``."""
    there = ~np.isnan(values_KHN)
    sums, counts = np.zeros((2, groups, values_KHN.shape[-1]))
    np.add.at(sums, group, np.where(there, values_KHN, 0.0).sum(axis=1))
    np.add.at(counts, group, there.sum(axis=1))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0).ravel()
