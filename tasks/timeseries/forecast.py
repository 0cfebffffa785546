"""Training a forecaster: windows in, squared or absolute error out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch.nn import functional
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from gated.core.nn.buildable import Buildable
from gated.engine.module import GatedModule
from gated.errors import UserError
from tasks.timeseries.windows import Pair

_LOSSES = {"mse": functional.mse_loss, "mae": functional.l1_loss}


class Forecaster(GatedModule):
    """A network ``[B, L, N] -> [B, H, N]`` trained on standardised windows.

    Metrics are on standardised values, over windows, steps and series alike; they add up sums and counts, so that they
    don't depend on the batch size.

    Args:
        net: the network.
        loss: ``"mse"`` or ``"mae"``; the absolute error is less drawn to rare peaks.
        kwargs: options of :class:`gated.engine.module.GatedModule`.
    """

    monitor: ClassVar[str] = "val/mse"
    monitor_mode: ClassVar[Literal["min", "max"]] = "min"

    def __init__(self, net: Buildable, *, loss: Literal["mse", "mae"] = "mse", **kwargs: Any) -> None:
        super().__init__(net, **kwargs)
        if loss not in _LOSSES:
            raise UserError(f"Forecaster: unknown loss {loss!r}", expected=" or ".join(map(repr, _LOSSES)))
        self.loss = loss
        self.val_mse, self.val_mae = MeanSquaredError(), MeanAbsoluteError()
        self.test_mse, self.test_mae = MeanSquaredError(), MeanAbsoluteError()

    def training_step(self, batch: Pair, batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch of windows."""
        x_BLN, y_BHN = batch
        loss = _LOSSES[self.loss](self.net(x_BLN), y_BHN)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(x_BLN))
        return loss

    def validation_step(self, batch: Pair, batch_idx: int) -> None:
        """Add a batch to ``val/mse`` and ``val/mae``."""
        self._measure(batch, "val", self.val_mse, self.val_mae)

    def test_step(self, batch: Pair, batch_idx: int) -> None:
        """Add a batch to ``test/mse`` and ``test/mae``."""
        self._measure(batch, "test", self.test_mse, self.test_mae)

    def _measure(self, batch: Pair, stage: str, mse: MeanSquaredError, mae: MeanAbsoluteError) -> None:
        x_BLN, y_BHN = (part.contiguous() for part in batch)
        forecast_BHN = self.net(x_BLN).contiguous()
        mse.update(forecast_BHN, y_BHN)
        mae.update(forecast_BHN, y_BHN)
        options = {"on_step": False, "on_epoch": True, "batch_size": len(x_BLN)}
        self.log(f"{stage}/mse", mse, prog_bar=True, **options)
        self.log(f"{stage}/mae", mae, **options)
