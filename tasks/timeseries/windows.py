"""Windows over a panel: views of one tensor, never copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from tasks.timeseries.panel import Panel


class Batch(NamedTuple):
    """Windows with what goes with them; without the leading axis, a single one.

    Attributes:
        x: the past of the targets, ``[B, L, N]``, gaps filled.
        y: what followed, ``[B, H, N]``, NaN where it is missing.
        past: covariates known up to the forecast, ``[B, L, P]``, or None.
        future: covariates known over the whole window, ``[B, L + H, F]``, or None.
        static: numbers about each window's group, ``[B, S]``, or None.
    """

    x: torch.Tensor
    y: torch.Tensor
    past: torch.Tensor | None = None
    future: torch.Tensor | None = None
    static: torch.Tensor | None = None

    @property
    def covariates(self) -> dict[str, torch.Tensor]:
        """What a model takes beside ``x``: only what there is."""
        found = {"past": self.past, "future": self.future, "static": self.static}
        return {name: value for name, value in found.items() if value is not None}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the same on another device (a trainer asks for it; without this it would look into every part)."""
        return Batch(*(None if part is None else part.to(device, non_blocking=non_blocking) for part in self))


class Windows(Dataset[Batch]):
    """Windows whose forecasts begin at evenly spaced rows of each group.

    Args:
        panel: the rows.
        input_size: steps of input ``L``.
        horizon: steps of forecast ``H``.
        first: ``[G]``, the row (counted in its group) at which the first forecast of each group begins.
        counts: ``[G]``, windows of each group.
        step: rows from one window to the next.
    """

    def __init__(
        self, panel: Panel, *, input_size: int, horizon: int, first: np.ndarray, counts: np.ndarray, step: int = 1
    ) -> None:
        self.panel, self.input_size, self.horizon, self.step = panel, input_size, horizon, step
        self.first, self.counts = first, counts
        self.ends = np.cumsum(counts)
        # [rows, C, L + H], all of them the same memory as the panel
        self.view = panel.filled.unfold(0, input_size + horizon, 1)
        self.gone = None if panel.missing is None else panel.missing.unfold(0, input_size + horizon, 1)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def origins(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the group of each window, and the row in it at which the forecast begins."""
        index = np.asarray(indices)
        group = np.searchsorted(self.ends, index, side="right")
        return group, self.first[group] + self.step * (index - self.ends[group] + self.counts[group])

    def __getitem__(self, index: int) -> Batch:
        """Return one window, without the axis of the batch."""
        batch = self.__getitems__([range(len(self))[index]])
        return Batch(*(None if part is None else part[0] for part in batch))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return many windows in one gather (what a loader calls)."""
        return self.at(*self.origins(indices))

    def at(self, group: np.ndarray, row: np.ndarray) -> Batch:
        """Return the windows whose forecasts begin at any rows of any groups, ``[B]`` each."""
        starts = torch.from_numpy(self.panel.starts[group] + row - self.input_size)
        windows_BTC = self.view[starts].transpose(1, 2)
        targets, length = self.panel.num_targets, self.input_size
        y_BHN = windows_BTC[:, length:, :targets]
        if self.gone is not None:
            gone_BNH = self.gone[starts, :targets, length:]
            y_BHN = y_BHN.masked_fill(gone_BNH.transpose(1, 2), float("nan"))
        known = targets + self.panel.num_past
        static = self.panel.static
        return Batch(
            windows_BTC[:, :length, :targets],
            y_BHN,
            windows_BTC[:, :length, targets:known] if known > targets else None,
            windows_BTC[..., known:] if windows_BTC.shape[-1] > known else None,
            None if static is None else static[torch.from_numpy(group)],
        )


def as_batch(batch: Batch) -> Batch:
    """Collate what :meth:`Windows.__getitems__` has already put together."""
    return batch
