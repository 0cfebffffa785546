"""Training a separator: permutation-invariant scale-invariant SDR."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torchmetrics.functional.audio import permutation_invariant_training, scale_invariant_signal_noise_ratio

from gated.engine.module import GatedModule

Batch = tuple[torch.Tensor, torch.Tensor]


class Separator(GatedModule):
    """Maximises the SI-SDR of the best assignment of outputs to speakers (uPIT, arXiv 1703.06284).

    Logged are ``si_sdr`` and ``si_sdri``, in decibel: the second is the improvement over the mixture itself.
    """

    monitor: ClassVar[str] = "val/si_sdri"
    monitor_mode: ClassVar[Literal["min", "max"]] = "max"

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Return the negative SI-SDR."""
        loss = -self._score("train", batch)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log the improvement on validation mixtures."""
        self._score("val", batch)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Log the improvement on test mixtures."""
        self._score("test", batch)

    def _score(self, stage: str, batch: Batch) -> torch.Tensor:
        mixture, sources = batch
        si_sdr = best_si_sdr(self.net(mixture), sources)
        before = scale_invariant_signal_noise_ratio(mixture.unsqueeze(1).expand_as(sources), sources).mean(1)
        show = {"batch_size": len(mixture), "on_step": False, "on_epoch": True}
        self.log(f"{stage}/si_sdr", si_sdr.mean(), **show)
        self.log(f"{stage}/si_sdri", (si_sdr - before).mean(), prog_bar=True, **show)
        return si_sdr.mean()


def best_si_sdr(estimates: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Return the SI-SDR in decibel of the best assignment, ``[B, S, T], [B, S, T] -> [B]`` (zero-mean signals)."""
    best: torch.Tensor = permutation_invariant_training(estimates, sources, scale_invariant_signal_noise_ratio)[0]
    return best
