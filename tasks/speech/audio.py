"""Sound files in and out: any rate, any number of channels, every format that libsndfile knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from gated.engine.files import atomic_path, existing_file
from gated.errors import UserError, did_you_mean

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus")

SUBTYPES = {
    ".wav": {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"},
    ".flac": {"16": "PCM_16", "24": "PCM_24"},
}
"""What can be written: suffix -> bits -> libsndfile's name."""


def probe(path: str | Path) -> tuple[int, int]:
    """Return ``(samples a channel, sample rate)`` from the header of a recording.

    Raises:
        UserError: no such file, not a recording, or one with no samples.
    """
    path = existing_file(path, "recording")
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise _unreadable(path, error) from None
    if info.frames < 1:
        raise _empty(path)
    return info.frames, info.samplerate


def read_audio(path: str | Path, *, start: int = 0, count: int = -1) -> tuple[torch.Tensor, int]:
    """Return ``(wave [T] in fp32, sample rate)``, channels averaged.

    Args:
        path: the file.
        start: first sample.
        count: samples to read at most; -1 reads to the end.

    Raises:
        UserError: no such file, not a recording, one with no samples, or one with samples that are not finite.
    """
    path = existing_file(path, "recording")
    try:
        samples, rate = soundfile.read(path, frames=count, start=start, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise _unreadable(path, error) from None
    if not len(samples):
        raise _empty(path)
    wave = torch.from_numpy(samples.mean(1))
    if not wave.isfinite().all():
        raise UserError(
            f"{path} has samples that are not numbers", expected="finite samples", hint="write the file again"
        )
    return wave, rate


def write_audio(path: str | Path, wave: torch.Tensor, sample_rate: int, *, bits: str = "16") -> Path:
    """Write a wave ``[T]``, the file appears whole or not at all.

    Args:
        path: ends in ``.wav`` or ``.flac``.
        wave: samples; those beyond -1 to 1 are clipped unless ``bits`` is ``"float"``.
        sample_rate: hertz.
        bits: ``"16"``, ``"24"`` or (WAV only) ``"float"``.

    Raises:
        UserError: the format cannot be written, or the place cannot be written to.
    """
    path = Path(path)
    subtype = writable(path, bits)
    samples: np.ndarray = wave.detach().cpu().float().numpy()
    with atomic_path(path) as temporary:
        soundfile.write(temporary, samples, sample_rate, subtype=subtype, format=path.suffix[1:].upper())
    return path


def writable(path: Path, bits: str) -> str:
    """Return libsndfile's name of the format of ``path``.

    Raises:
        UserError: it cannot be written.
    """
    known = SUBTYPES.get(path.suffix.lower())
    if known is None:
        raise UserError(
            f"cannot write {path}",
            expected="a name that ends in " + " or ".join(SUBTYPES),
            found=path.suffix or "no ending",
            hint="change the ending; `ffmpeg -i voice.wav voice.mp3` makes other formats of it",
        )
    if bits not in known:
        raise UserError(
            f"{path.suffix} files have no samples of {bits!r} bits", found=bits, hint=did_you_mean(bits, known)
        )
    return known[bits]


def resample(wave: torch.Tensor, source: int, target: int) -> torch.Tensor:
    """Return ``[..., T]`` at another rate, ``ceil(T * target / source)`` samples long."""
    if source == target or not wave.numel():
        return wave
    import torchaudio.functional

    out: torch.Tensor = torchaudio.functional.resample(wave, source, target)
    return out


def _empty(path: Path) -> UserError:
    return UserError(f"{path} holds no samples", expected="a recording", found="0 samples", hint="leave the file out")


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"cannot read {path} as a recording",
        expected="wav, flac, ogg, mp3 or aiff",
        found=str(error),
        hint=f"m4a, aac, wma and video must be converted: ffmpeg -i {path.name} {path.with_suffix('.wav').name}",
    )
