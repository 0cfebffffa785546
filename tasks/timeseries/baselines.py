"""The forecasts that a model has to beat, and the one function that measures them all on the same windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch

from tasks.timeseries.windows import Windows


class Predictor(Protocol):
    """Anything that forecasts ``[B, horizon, N]`` from ``[B, input_size, N]``."""

    input_size: int

    def __call__(self, x_BLN: torch.Tensor) -> torch.Tensor:
        """Return the forecast."""
        ...


class SeasonalNaive:
    """Repeats the last season; with ``period=1`` the last value.

    Args:
        period: steps in a season.
        horizon: steps to forecast.
    """

    def __init__(self, period: int, horizon: int) -> None:
        self.input_size = period
        self.steps = torch.arange(horizon) % period

    def __call__(self, x_BLN: torch.Tensor) -> torch.Tensor:
        """Return what was there a season ago."""
        return x_BLN[:, -self.input_size :][:, self.steps]


class LinearMap:
    """One linear map from input to forecast, shared by all series, in closed form (ordinary least squares).

    Each window is centred on its own mean, so the map needs no bias. This is the strong baseline of the long-horizon
    benchmarks: with the same look-back it beats most transformers published from 2021 to 2024.
    """

    def __init__(self, weight_LH: torch.Tensor) -> None:
        self.weight_LH, self.input_size = weight_LH, len(weight_LH)

    @classmethod
    def fit(cls, windows: Windows, *, ridge: float = 1e-6, batch_size: int = 256) -> LinearMap:
        """Fit on training windows; ``ridge`` is relative to the mean square of the inputs and only guards the solve."""
        length, horizon = windows.input_size, windows.horizon
        gram = torch.zeros(length, length, dtype=torch.float64)
        cross = torch.zeros(length, horizon, dtype=torch.float64)
        for start in range(0, len(windows), batch_size):
            x, y = windows.__getitems__(range(start, min(start + batch_size, len(windows))))
            mean = x.mean(dim=1, keepdim=True)
            x_ML = (x - mean).transpose(1, 2).reshape(-1, length).double()
            y_MH = (y - mean).transpose(1, 2).reshape(-1, horizon).double()
            gram += x_ML.T @ x_ML
            cross += x_ML.T @ y_MH
        gram += ridge * gram.diagonal().mean().clamp(min=1e-12) * torch.eye(length, dtype=torch.float64)
        return cls(torch.linalg.solve(gram, cross).float())

    def __call__(self, x_BLN: torch.Tensor) -> torch.Tensor:
        """Return the mapped window, moved back to its mean."""
        mean = x_BLN.mean(dim=1, keepdim=True)
        return torch.einsum("bln,lh->bhn", x_BLN - mean, self.weight_LH) + mean


class Score(NamedTuple):
    """Mean squared and mean absolute error over windows, steps and series."""

    mse: float
    mae: float


def evaluate(predictors: Mapping[str, Predictor], windows: Windows, *, batch_size: int = 256) -> dict[str, Score]:
    """Measure every predictor on the very same targets.

    Each is given as many steps of input as it looks back, be it more or fewer than ``windows`` has.

    Raises:
        UserError: there are not as many rows before the first target as a predictor looks back.
    """
    scores = {}
    for name, predictor in predictors.items():
        own = windows.looking_back(predictor.input_size)
        squared = absolute = 0.0
        count = 0
        for start in range(0, len(own), batch_size):
            x_BLN, y_BHN = own.__getitems__(range(start, min(start + batch_size, len(own))))
            with torch.no_grad():
                error = (predictor(x_BLN) - y_BHN).double()
            squared += float(error.square().sum())
            absolute += float(error.abs().sum())
            count += error.numel()
        scores[name] = Score(squared / count, absolute / count)
    return scores
