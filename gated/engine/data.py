"""The data module that every task derives its own from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from gated.errors import UserError


class GatedDataModule(L.LightningDataModule):
    """Loaders with a seed, and the facts about the data that a prediction needs later.

    Args:
        batch_size: examples in a batch.
        num_workers: processes that load; 0 loads in the training process.
        seed: of splits, shuffling and augmentation.
    """

    def __init__(self, *, batch_size: int, num_workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError("batch_size must be positive", expected=">= 1", found=str(batch_size))
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed

    def facts(self) -> dict[str, Any]:
        """Return plain data that belongs beside the weights: labels, mean and deviation, sample rate, scaler, ..."""
        raise NotImplementedError

    def loader(
        self,
        dataset: Dataset[Any],
        *,
        train: bool,
        collate_fn: Callable[..., Any] | None = None,
        drawn: int | None = None,
    ) -> DataLoader[Any]:
        """Return a loader; training shuffles by (seed, epoch), so that a resumed run sees what it would have seen.

        Args:
            dataset: what to load.
            train: shuffle.
            collate_fn: how examples become a batch.
            drawn: examples of a training epoch, drawn with replacement; for datasets too large to go through.
        """
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        generator = torch.Generator().manual_seed(hash((self.seed, epoch)) % 2**63)
        sampler = None
        if train and drawn is not None:
            sampler = RandomSampler(dataset, replacement=True, num_samples=drawn, generator=generator)  # type: ignore[arg-type]
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=train and sampler is None,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate_fn,
            persistent_workers=False,
            generator=generator,
        )
