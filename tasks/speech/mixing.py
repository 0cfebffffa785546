"""How a mixture is made: cut, speed, level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import torch

from tasks.speech.audio import resample
from tasks.speech.recordings import Recording


@dataclass(frozen=True)
class MixtureRecipe:
    """What mixtures look like.

    Attributes:
        num_speakers: voices.
        sample_rate: hertz.
        seconds: length.
        level_range: every voice is raised or lowered by up to this many decibel.
        speeds: playing speeds in percent, one drawn for every voice (pitch moves along: it makes new speakers).
    """

    num_speakers: int
    sample_rate: int
    seconds: float
    level_range: float = 2.5
    speeds: tuple[int, ...] = (100,)

    @property
    def samples(self) -> int:
        """Length in samples."""
        return round(self.seconds * self.sample_rate)


def mix(recordings: Sequence[Recording], recipe: MixtureRecipe, random: np.random.Generator) -> torch.Tensor:
    """Return the sources ``[S, T]`` of one mixture: their sum is the mixture, and its peak is at most 0.9."""
    sources = []
    for recording in recordings:
        voice = _cut(recording, recipe, random)
        level = random.uniform(-recipe.level_range, recipe.level_range)
        rms = float(np.sqrt(np.mean(np.square(voice, dtype=np.float64)))) or 1.0
        sources.append(voice * (10 ** (level / 20) / rms))
    stacked = torch.from_numpy(np.stack(sources).astype(np.float32))
    peak = max(float(stacked.sum(0).abs().max()), float(stacked.abs().max()), 1e-8)
    return stacked * (0.9 / peak)


def _cut(recording: Recording, recipe: MixtureRecipe, random: np.random.Generator) -> np.ndarray:
    """Cut a random piece; of up to four tries, the first that holds speech in at least half of it."""
    speed = int(random.choice(recipe.speeds))
    needed = recipe.samples * speed // 100
    voice = np.zeros(recipe.samples, np.float32)
    for _ in range(4):
        start = int(random.integers(max(1, recording.length_at(recipe.sample_rate) - needed + 1)))
        piece = recording.read(recipe.sample_rate, start, needed)
        piece = _change_speed(piece, speed)[: recipe.samples]
        voice = np.pad(piece, (0, recipe.samples - len(piece)))
        frames = (
            np.abs(voice[: len(voice) // 400 * 400].reshape(-1, 400)).mean(1) if len(voice) >= 400 else np.abs(voice)
        )
        if frames.max() > 0 and np.mean(frames > 0.1 * frames.max()) > 0.5:
            break
    return voice


def _change_speed(voice: np.ndarray, percent: int) -> np.ndarray:
    common = gcd(percent, 100)
    return resample(torch.from_numpy(voice), percent // common, 100 // common).numpy()
