"""Training a segmenter."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torchmetrics.segmentation import DiceScore, MeanIoU

from gated.core.nn.buildable import Buildable
from gated.engine.module import GatedModule


class Segmenter(GatedModule):
    """One class a pixel: cross-entropy plus soft Dice, judged by Dice and IoU of the foreground, mean over images.

    Args:
        net: ``[B, C, *S] -> [B, num_classes, *S]`` logits; class 0 is background.
        dice_weight: weight of the soft Dice loss beside cross-entropy.
        **kwargs: ``lr``, ``weight_decay``, ``warmup_steps``, ... of :class:`GatedModule`.
    """

    monitor: ClassVar[str] = "val/dice"
    monitor_mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(self, net: Buildable, *, dice_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(net, **kwargs)
        self.dice_weight = dice_weight
        options = {"num_classes": net.num_classes, "include_background": False, "input_format": "index"}
        self.metrics = torch.nn.ModuleDict(
            {
                f"{stage}_{name}": metric(**options)
                for stage in ("val", "test")
                for name, metric in (("dice", DiceScore), ("iou", MeanIoU))
            }
        )

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch ``(images, classes)``."""
        images, classes = batch
        loss = self._loss(self.net(images), classes)
        self.log("train/loss", loss, batch_size=len(images), on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Log loss, Dice and IoU."""
        self._judge(batch, "val")

    def test_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Log loss, Dice and IoU."""
        self._judge(batch, "test")

    def _loss(self, logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, classes) + self.dice_weight * soft_dice_loss(logits, classes)

    def _judge(self, batch: tuple[torch.Tensor, torch.Tensor], stage: str) -> None:
        images, classes = batch
        logits = self.net(images)
        self.log(f"{stage}/loss", self._loss(logits, classes), batch_size=len(images))
        for name in ("dice", "iou"):
            metric = self.metrics[f"{stage}_{name}"]
            metric.update(logits.argmax(1), classes)
            self.log(f"{stage}/{name}", metric, batch_size=len(images), prog_bar=name == "dice")


def soft_dice_loss(logits: torch.Tensor, classes: torch.Tensor, smooth: float = 1.0) -> torch.Tensor:
    """Return ``1 - Dice`` of the probabilities, mean over the foreground classes (V-Net, arXiv 1606.04797, section 3).

    Args:
        logits: ``[B, K, *S]``.
        classes: ``[B, *S]`` in 0..K-1.
        smooth: added to both sides of the fraction, so that an absent class does not divide zero by zero.
    """
    probability = logits.float().softmax(1)
    wanted = F.one_hot(classes, logits.shape[1]).movedim(-1, 1).to(probability.dtype)
    axes = (0, *range(2, logits.dim()))
    overlap = (probability * wanted).sum(axes)
    total = probability.sum(axes) + wanted.sum(axes)
    dice = (2 * overlap + smooth) / (total + smooth)
    return 1 - dice[1:].mean()
