"""Training a classifier."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torchmetrics.classification import MulticlassAccuracy

from gated.core.nn.buildable import Buildable
from gated.engine.module import GatedModule


class Classifier(GatedModule):
    """One label an image: cross-entropy with label smoothing, accuracy.

    Args:
        net: ``[B, C, H, W] -> [B, num_classes]`` logits.
        label_smoothing: share of the target spread over all classes.
        **kwargs: ``lr``, ``weight_decay``, ``warmup_steps``, ... of :class:`GatedModule`.
    """

    monitor: ClassVar[str] = "val/acc"
    monitor_mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(self, net: Buildable, *, label_smoothing: float = 0.1, **kwargs: Any) -> None:
        super().__init__(net, **kwargs)
        self.label_smoothing = label_smoothing
        self.accuracy = torch.nn.ModuleDict(
            {stage: MulticlassAccuracy(net.num_classes, average="micro") for stage in ("on_val", "on_test")}
        )

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch ``(images, labels)``."""
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels, label_smoothing=self.label_smoothing)
        self.log("train/loss", loss, batch_size=len(labels), on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Log loss and accuracy."""
        self._judge(batch, "val")

    def test_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Log loss and accuracy."""
        self._judge(batch, "test")

    def _judge(self, batch: tuple[torch.Tensor, torch.Tensor], stage: str) -> None:
        images, labels = batch
        logits = self.net(images)
        accuracy = self.accuracy[f"on_{stage}"]
        accuracy.update(logits, labels)
        self.log(f"{stage}/loss", F.cross_entropy(logits, labels), batch_size=len(labels))
        self.log(f"{stage}/acc", accuracy, batch_size=len(labels), prog_bar=True)
