"""Training a forecaster: windows in, squared or absolute error out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from gated.core.nn.buildable import Buildable
from gated.engine.module import COMPILE, GatedModule
from gated.errors import UserError
from tasks.timeseries.least_squares import linear_map
from tasks.timeseries.windows import Batch


class Forecaster(GatedModule):
    """A network ``[B, L, N] -> [B, H, N]`` trained on standardised windows.

    Targets that are missing count neither in the loss nor in the metrics. Metrics are on standardised values, over
    windows, steps and series alike; they add up sums and counts, so that they don't depend on the batch size.

    Args:
        net: the network.
        loss: ``"mse"``, ``"mae"`` (less drawn to rare peaks) or ``"quantile"`` (pinball loss over ``net.quantiles``).
        normalize: divide each error by the deviation of its window: a wild one counts no more than a calm one.
        kwargs: options of :class:`gated.engine.module.GatedModule`.

    Raises:
        UserError: an unknown loss, or a quantile loss for a network without quantiles.
    """

    monitor: ClassVar[str] = "val/mse"
    monitor_mode: ClassVar[Literal["min", "max"]] = "min"

    def __init__(
        self, net: Buildable, *, loss: Literal["mse", "mae", "quantile"] = "mse", normalize: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(net, **kwargs)
        quantiles = getattr(net, "quantiles", ())
        if loss not in ("mse", "mae", "quantile") or (loss == "quantile") != bool(quantiles):
            raise UserError(
                f"Forecaster: loss {loss!r} does not fit the network",
                expected="'quantile' for a network with quantiles, else 'mse' or 'mae'",
                found=f"quantiles {list(quantiles)}",
            )
        self.loss, self.normalize, self.quantiles = loss, normalize, quantiles
        self.val_mse, self.val_mae = MeanSquaredError(), MeanAbsoluteError()
        self.test_mse, self.test_mae = MeanSquaredError(), MeanAbsoluteError()
        self.compiled: Callable[[Batch], torch.Tensor] | None = None
        self.compiled_size = 0
        self.train_loss: tuple[float | torch.Tensor, int] = (0.0, 0)  # sum over windows, number of them

    def setup(self, stage: str) -> None:
        """Start a shortcut that is still zero as the linear map fitted to the training windows of the data module."""
        data = getattr(self.trainer, "datamodule", None)
        shortcut = getattr(self.net, "shortcut", None)
        if stage == "fit" and data is not None and shortcut is not None and not shortcut.weight.any():
            self.net.start_from_linear(linear_map(data.windows("train")).float())

    def compile_step(self) -> None:
        """Compile the loss together with the network: by itself it takes a sixth of a small step.

        Nothing else: validation, and a last batch that is smaller, are over before they would be compiled.
        """
        self.compiled = torch.compile(self.objective, options=COMPILE)

    def objective(self, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch of windows."""
        return self._loss(self.net(batch.x, **batch.covariates), batch)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch of windows."""
        if self.compiled is not None and len(batch.x) >= self.compiled_size:
            self.compiled_size = len(batch.x)
            loss = self.compiled(batch)
        else:
            loss = self.objective(batch)
        # what Lightning does to log a step takes a tenth of a small one
        total, count = self.train_loss
        self.train_loss = (total + len(batch.x) * loss.detach(), count + len(batch.x))
        return loss

    def on_train_epoch_end(self) -> None:
        """Log ``train/loss``, the mean over the windows of the epoch."""
        total, count = self.train_loss
        self.train_loss = (0.0, 0)
        self.log("train/loss", total / count)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to ``val/mse`` and ``val/mae``."""
        self._measure(batch, "val", self.val_mse, self.val_mae)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to ``test/mse`` and ``test/mae``."""
        self._measure(batch, "test", self.test_mse, self.test_mae)

    def _loss(self, forecast: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean over the targets that are there (and over the quantiles)."""
        y = batch.y.unsqueeze(-1) if self.quantiles else batch.y
        there = ~y.isnan()
        error = torch.where(there, y - forecast, 0.0)
        if self.normalize:
            std = (batch.x.var(dim=1, keepdim=True, unbiased=False) + 1e-5).sqrt()
            error = error / (std.unsqueeze(-1) if self.quantiles else std)
        if self.loss == "quantile":
            level = error.new_tensor(self.quantiles)
            each = torch.maximum(level * error, (level - 1) * error)
        else:
            each = error.square() if self.loss == "mse" else error.abs()
        return each.sum() / there.expand_as(each).sum().clamp(min=1)

    def _measure(self, batch: Batch, stage: str, mse: MeanSquaredError, mae: MeanAbsoluteError) -> None:
        forecast_BHN = point(self.net, batch)
        there = ~batch.y.isnan()
        for metric in (mse, mae):
            metric.update(forecast_BHN[there], batch.y[there])
        options = {"on_step": False, "on_epoch": True, "batch_size": len(batch.x)}
        self.log(f"{stage}/mse", mse, prog_bar=True, **options)
        self.log(f"{stage}/mae", mae, **options)


def point(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the forecast of a network, ``[B, H, N]``; of its quantiles the one nearest the median."""
    forecast: torch.Tensor = net(batch.x, **batch.covariates)
    quantiles = getattr(net, "quantiles", ())
    if not quantiles:
        return forecast
    return forecast[..., min(range(len(quantiles)), key=lambda i: abs(quantiles[i] - 0.5))]
