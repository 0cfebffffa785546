"""Mixtures of voices, made while training from a folder of recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from gated.engine.data import GatedDataModule
from gated.errors import UserError
from tasks.speech.mixing import MixtureRecipe, mix
from tasks.speech.recordings import Recording, scan_speakers, split_speakers


class MixtureDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Mixtures ``[T]`` with their sources ``[S, T]``; item ``i`` depends on (seed, epoch, i) alone.

    Args:
        speakers: speaker -> recordings.
        size: number of mixtures.
        recipe: how a mixture is made.
        seed: of everything random.
        epoch: for training; leave 0 for a fixed set.
    """

    def __init__(
        self, speakers: dict[str, list[Recording]], size: int, recipe: MixtureRecipe, *, seed: int, epoch: int = 0
    ) -> None:
        self.speakers, self.names = speakers, sorted(speakers)
        self.size, self.recipe, self.seed, self.epoch = size, recipe, seed, epoch

    def __len__(self) -> int:
        """Number of mixtures."""
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``(mixture [T], sources [S, T])``."""
        if not 0 <= index < self.size:
            raise IndexError(index)
        random = np.random.default_rng([self.seed, self.epoch, index])
        chosen = random.choice(len(self.names), self.recipe.num_speakers, replace=False)
        recordings = [self.speakers[self.names[i]] for i in chosen]
        sources = mix([r[random.integers(len(r))] for r in recordings], self.recipe, random)
        return sources.sum(0), sources


class Mixtures(GatedDataModule):
    """A folder of recordings, ``root/<speaker>/*.wav`` or ``root/<speaker>-*.flac``, mixed while training.

    The speakers are split, not the recordings: nobody of the validation or test part is heard in training.

    Args:
        root: the folder.
        num_speakers: voices in a mixture.
        sample_rate: of the mixtures; recordings are resampled.
        seconds: length of a mixture.
        train_mixtures: mixtures an epoch.
        val_mixtures: fixed validation mixtures.
        test_mixtures: fixed test mixtures.
        val_speakers: speakers set apart for validation; those before the test speakers.
        test_speakers: speakers set apart for testing; the last ones in order.
        level_range: greatest difference of the voices' levels from their mean, in decibel.
        speeds: playing speeds in training, each a fraction of percent such as 95.
        batch_size: mixtures in a batch.
        num_workers: processes that mix.
        seed: of everything random.

    Raises:
        UserError: the folder, its recordings or the split do not fit.
    """

    def __init__(
        self,
        root: str,
        *,
        num_speakers: int = 2,
        sample_rate: int = 8000,
        seconds: float = 3.0,
        train_mixtures: int = 2000,
        val_mixtures: int = 60,
        test_mixtures: int = 300,
        val_speakers: int = 30,
        test_speakers: int = 30,
        level_range: float = 2.5,
        speeds: list[int] | None = None,
        batch_size: int = 4,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        if num_speakers < 1 or sample_rate < 1 or round(seconds * sample_rate) < 1:
            raise UserError(
                "Mixtures: num_speakers, sample_rate and seconds must be positive",
                found=f"num_speakers={num_speakers}, sample_rate={sample_rate}, seconds={seconds}",
            )
        self.num_speakers, self.sample_rate = num_speakers, sample_rate
        self.sizes = {"train": train_mixtures, "val": val_mixtures, "test": test_mixtures}
        self.recipe = MixtureRecipe(num_speakers, sample_rate, seconds, level_range)
        self.train_recipe = MixtureRecipe(num_speakers, sample_rate, seconds, level_range, tuple(speeds or (100,)))
        self.parts = split_speakers(scan_speakers(Path(root)), val_speakers, test_speakers)
        for part, speakers in self.parts.items():
            if len(speakers) < num_speakers:
                raise UserError(
                    f"{root}: too few speakers in the {part} part",
                    expected=f"at least {num_speakers}",
                    found=f"{len(speakers)} of {sum(map(len, self.parts.values()))}",
                    hint="add speakers, or set fewer apart with --data.val_speakers and --data.test_speakers",
                )

    def facts(self) -> dict[str, Any]:
        """Sample rate, number of voices, and length of a mixture: what a network is at its best for."""
        return {
            "task": "speech",
            "sample_rate": self.sample_rate,
            "num_speakers": self.num_speakers,
            "seconds": self.recipe.seconds,
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """New mixtures every epoch.

        Raises:
            UserError: the trainer would keep the mixtures of the first epoch.
        """
        epoch = 0
        if self.trainer is not None:
            epoch = self.trainer.current_epoch
            if self.trainer.reload_dataloaders_every_n_epochs != 1 and self.trainer.max_epochs != 1:
                raise UserError(
                    "Mixtures: every epoch would hear the same mixtures",
                    expected="trainer.reload_dataloaders_every_n_epochs: 1",
                    found=str(self.trainer.reload_dataloaders_every_n_epochs),
                    hint="add --trainer.reload_dataloaders_every_n_epochs 1",
                )
        data = MixtureDataset(self.parts["train"], self.sizes["train"], self.train_recipe, seed=self.seed, epoch=epoch)
        return self.loader(data, train=False)

    def val_dataloader(self) -> DataLoader[Any]:
        """The fixed validation mixtures."""
        return self.loader(self.fixed("val"), train=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """The fixed test mixtures."""
        return self.loader(self.fixed("test"), train=False)

    def fixed(self, part: str) -> MixtureDataset:
        """Return the fixed mixtures of ``"val"`` or ``"test"``."""
        seed = {"val": 1, "test": 2}[part]
        return MixtureDataset(self.parts[part], self.sizes[part], self.recipe, seed=seed)
