"""Normalising each series by the mean and deviation of its own window, and undoing it on the forecast."""

from __future__ import annotations

from typing import NamedTuple

import torch


class InstanceStats(NamedTuple):
    """Mean and deviation over time of each series: ``[B, 1, N]`` each."""

    mean: torch.Tensor
    std: torch.Tensor

    def first(self, count: int) -> InstanceStats:
        """Return those of the first ``count`` series."""
        return InstanceStats(self.mean[..., :count], self.std[..., :count])

    def undo(self, y_BHN: torch.Tensor) -> torch.Tensor:
        """Bring ``[B, H, N]`` back to the units of the input."""
        return y_BHN * self.std + self.mean


def instance_normalize(x_BLN: torch.Tensor, *, eps: float = 1e-5) -> tuple[torch.Tensor, InstanceStats]:
    """Normalise ``[B, L, N]`` over ``L``, without learned parameters.

    The form of "Non-stationary Transformers" (arXiv 2205.14415, eq. 1 and 2): no gradient flows through the mean, but
    through the deviation it does, and ``eps`` is added to the variance.

    Returns:
        The normalised tensor and the statistics, whose ``undo`` maps a forecast ``[B, H, N]`` back.
    """
    mean = x_BLN.mean(dim=1, keepdim=True).detach()
    centred = x_BLN - mean
    std = (centred.var(dim=1, keepdim=True, unbiased=False) + eps).sqrt()
    return centred / std, InstanceStats(mean, std)
