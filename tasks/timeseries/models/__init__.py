"""Forecasting models: pure torch, ``[B, input_size, N] -> [B, horizon, N]``."""

from tasks.timeseries.models.gateformer import Gateformer, Gates

__all__ = ["Gateformer", "Gates"]
