"""Training a small model right here, in memory: nothing is written."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gated.core.nn.buildable import Buildable
from gated.engine.quiet import quiet
from tasks.timeseries.data import TableWindows
from tasks.timeseries.forecast import Forecaster


def fit(
    net: Buildable,
    data: TableWindows,
    *,
    epochs: int,
    seed: int,
    patience: int | None = None,
    clip: float | None = 1.0,
    progress: bool = True,
    **options: Any,
) -> None:
    """Train ``net`` in place and leave it in eval mode.

    Args:
        net: the network, on the CPU.
        data: where the windows come from.
        epochs: at most as many.
        seed: of dropout and the order of windows; the caller's random state is left alone.
        patience: stop after as many epochs without a better ``val/mse`` and take the weights of the best one. Without
            it the validation part is not looked at, and the last weights count.
        clip: the largest norm of the gradient; longer ones are scaled down to it.
        progress: draw a bar.
        options: of :class:`tasks.timeseries.forecast.Forecaster`.
    """
    best = KeepBest(Forecaster.monitor)
    callbacks: list[Callback] = []
    if patience is not None:
        callbacks += [best, EarlyStopping(Forecaster.monitor, mode=Forecaster.monitor_mode, patience=patience)]
    if progress:
        callbacks.append(EpochBar(Forecaster.monitor))
    with quiet(), one_thread(), torch.random.fork_rng():
        torch.manual_seed(seed)
        trainer = L.Trainer(
            max_epochs=epochs,
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0 if patience is None else 1.0,
            reload_dataloaders_every_n_epochs=1,
            gradient_clip_val=clip,
        )
        trainer.fit(Forecaster(net, **options), datamodule=data)
    if patience is not None:
        net.load_state_dict(best.weights)
    net.cpu().eval()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: such small products gain little from more, and beside a busy process they lose tenfold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class KeepBest(Callback):
    """Keeps the weights of the epoch with the lowest metric in memory."""

    def __init__(self, monitor: str) -> None:
        self.monitor, self.score = monitor, float("inf")
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare and keep."""
        score = float(trainer.callback_metrics[self.monitor])
        if score < self.score or not self.weights:
            self.score, self.weights = score, copy.deepcopy(pl_module.net.state_dict())


class EpochBar(Callback):
    """One bar over all epochs, with the metric beside it."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("epoch {task.completed}/{task.total}  {task.fields[score]}"),
            TimeRemainingColumn(),
        )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the empty bar."""
        self.bar.start()
        self.row = self.bar.add_task("", total=trainer.max_epochs, score="")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move on by one epoch."""
        score = trainer.callback_metrics.get(self.monitor)
        self.bar.update(self.row, advance=1, score="" if score is None else f"{self.monitor} {float(score):.4f}")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the terminal as it was, also after an error."""
        self.bar.stop()
