"""Recordings on disk: who speaks in which file, and reading a piece of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gated.errors import UserError
from tasks.speech.audio import SUFFIXES, probe, read_audio, resample


@dataclass(frozen=True)
class Recording:
    """One file, described but not read.

    Attributes:
        path: the file.
        frames: samples a channel.
        sample_rate: hertz.
    """

    path: Path
    frames: int
    sample_rate: int

    def length_at(self, sample_rate: int) -> int:
        """Return the number of samples after resampling to ``sample_rate``."""
        return self.frames * sample_rate // self.sample_rate

    def read(self, sample_rate: int, start: int, count: int) -> np.ndarray:
        """Return up to ``count`` samples from ``start`` (both at ``sample_rate``), channels averaged, fp32."""
        ratio = self.sample_rate / sample_rate
        voice, _ = read_audio(self.path, start=round(start * ratio), count=max(1, round(count * ratio)))
        return resample(voice, self.sample_rate, sample_rate)[:count].numpy()


def scan_speakers(root: Path) -> dict[str, list[Recording]]:
    """Return speaker -> recordings of a folder.

    A speaker is a sub-folder; in a folder without sub-folders it is the part of a file's name before the first ``-`` or
    ``_`` (LibriSpeech's ``speaker-chapter-utterance``).

    Raises:
        UserError: no folder, no recordings, or a recording that cannot be read or holds no samples.
    """
    if not root.is_dir():
        raise UserError(
            f"folder of recordings not found: {root}",
            expected="a folder with one sub-folder of recordings a speaker",
            hint="give it with --data.root DIR",
        )
    files = sorted(p for p in root.rglob("[!.]*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"no recordings below {root}", expected="files ending in " + " ".join(SUFFIXES))
    speakers: dict[str, list[Recording]] = {}
    for file in files:
        inside = file.relative_to(root).parts
        speaker = inside[0] if len(inside) > 1 else file.stem.replace("_", "-").split("-")[0]
        speakers.setdefault(speaker, []).append(describe(file))
    return speakers


def describe(path: Path) -> Recording:
    """Read the header of a recording.

    Raises:
        UserError: the file is not a recording, or holds no samples.
    """
    frames, rate = probe(path)
    return Recording(path, frames, rate)


def split_speakers(
    speakers: dict[str, list[Recording]], num_val: int, num_test: int
) -> dict[str, dict[str, list[Recording]]]:
    """Split by speaker, in the order of their names (numbers as numbers): test is the end, validation before it.

    Raises:
        UserError: a number is negative.
    """
    if num_val < 0 or num_test < 0:
        raise UserError(
            "a number of speakers is negative",
            expected=">= 0",
            found=f"val_speakers={num_val}, test_speakers={num_test}",
        )
    names = sorted(speakers, key=lambda n: (0, int(n), n) if n.isdecimal() else (1, 0, n))
    cut = max(0, len(names) - num_test)
    parts = {"train": names[: max(0, cut - num_val)], "val": names[max(0, cut - num_val) : cut], "test": names[cut:]}
    return {part: {n: speakers[n] for n in chosen} for part, chosen in parts.items()}
