"""The handwritten digits of scikit-learn: 1,797 grey images of 8 x 8 pixels, ten classes, no download."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset, default_collate

from gated.engine.data import GatedDataModule
from tasks.vision.splits import stratified_split

SPLIT_SEED = 0
"""The held-out digits are the same ones in every run, whatever its seed, so that runs can be compared."""


class Digits(GatedDataModule):
    """scikit-learn's digits (UCI "Optical Recognition of Handwritten Digits", test part, CC BY 4.0).

    The split is stratified and always the same. A batch is ``(images [B, 1, 8, 8], labels [B])``; values are
    normalised by the mean and deviation of the training part.

    Args:
        batch_size: images in a batch.
        max_rotation: training images are turned by up to so many degrees.
        max_scale: and made larger or smaller by up to this share.
        max_shift: and moved by up to this share of half their side.
        num_workers: processes that load; the images are in memory, so 0 is fastest.
        seed: of order and augmentation.
    """

    num_classes = 10
    in_chans = 1
    img_size = (8, 8)

    def __init__(
        self,
        *,
        batch_size: int = 64,
        max_rotation: float = 12.0,
        max_scale: float = 0.12,
        max_shift: float = 0.12,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        from sklearn.datasets import load_digits

        self.max_rotation, self.max_scale, self.max_shift = max_rotation, max_scale, max_shift
        pixels, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(pixels.astype(np.float32)).view(-1, 1, 8, 8) / 16
        targets = torch.from_numpy(labels.astype(np.int64))
        parts = stratified_split(targets.tolist(), val_fraction=0.15, test_fraction=0.15, seed=SPLIT_SEED)
        self.mean, self.std = images[parts[0]].mean().item(), images[parts[0]].std().item()
        images = (images - self.mean) / self.std
        self.train_set, self.val_set, self.test_set = (TensorDataset(images[i], targets[i]) for i in parts)

    def facts(self) -> dict[str, Any]:
        """Return what a prediction needs: labels, size and normalisation."""
        return {
            "kind": "classes",
            "labels": [str(digit) for digit in range(10)],
            "img_size": list(self.img_size),
            "in_chans": 1,
            "mean": [self.mean],
            "std": [self.std],
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """Training digits, moved about a little."""
        return self.loader(self.train_set, train=True, collate_fn=self._collate_moved)

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation digits."""
        return self.loader(self.val_set, train=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Held-out digits."""
        return self.loader(self.test_set, train=False)

    def _collate_moved(self, examples: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = default_collate(examples)
        return random_affine(images, self.max_rotation, self.max_scale, self.max_shift), labels


def random_affine(images: torch.Tensor, max_rotation: float, max_scale: float, max_shift: float) -> torch.Tensor:
    """Turn, scale and shift each image of ``[B, C, H, W]`` by its own random amount; what comes in is background.

    The whole batch is moved in one call: at 8 x 8 pixels an image at a time would take longer than the training step.
    """

    def draw(limit: float) -> torch.Tensor:
        return (2 * torch.rand(len(images)) - 1) * limit

    angle, zoom = draw(math.radians(max_rotation)), 1 / (1 + draw(max_scale))
    across = torch.stack((zoom * angle.cos(), -zoom * angle.sin(), draw(max_shift)), 1)
    down = torch.stack((zoom * angle.sin(), zoom * angle.cos(), draw(max_shift)), 1)
    places = F.affine_grid(torch.stack((across, down), 1), list(images.shape), align_corners=False)
    background = images.amin()
    return F.grid_sample(images - background, places, align_corners=False) + background
