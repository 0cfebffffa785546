"""Long recordings piece by piece: overlapping windows whose voices are put into one order and faded into each other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import torch
import torch.nn.functional as F

FLOOR = 1e-3
"""Share of the level so far (-60 dB) below which an overlap counts as silent."""
MARGIN = 0.05
"""Lead in mean correlation that an order needs over the next best one; below it the sound of the voices decides."""


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Return where the windows start; the last one is moved back so that it ends with the recording."""
    if length <= window:
        return [0]
    return [*range(0, length - window, window - overlap), length - window]


def fade(window: int, overlap: int) -> torch.Tensor:
    """Return the weights ``[window]`` of one window before normalising: ramps of ``overlap`` samples, one between."""
    steps = torch.arange(1, window + 1, dtype=torch.float32)
    return (torch.minimum(steps, steps.flip(0)) / (overlap + 1)).clamp_max(1.0)


def stitch(
    separate: Callable[[torch.Tensor], torch.Tensor],
    mixture: torch.Tensor,
    *,
    window: int,
    overlap: int,
    progress: Callable[[float], None] = lambda share: None,
) -> torch.Tensor:
    """Separate ``[T]`` in windows and return ``[S, T]`` with every voice in one row throughout.

    A network answers in any order, so each window's voices are put into the order of what is there already. First
    counts the normalised correlation in the overlap. Where that decides nothing (a silent overlap, voices alike there),
    the average spectrum of each voice so far decides.

    The weights of the windows sum to one at every sample, whatever the overlap.

    Args:
        separate: ``[t] -> [S, t]``.
        mixture: the recording.
        window: samples in a window.
        overlap: samples that neighbours share, less than ``window``.
        progress: called with the share that is done, 0 to 1.
    """
    length = len(mixture)
    starts = window_starts(length, window, overlap)
    if len(starts) == 1:
        voices = separate(mixture)
        progress(1.0)
        return voices
    weights = fade(window, overlap).to(mixture)
    total = torch.zeros(length, dtype=mixture.dtype, device=mixture.device)
    memory, out = _Memory(), torch.empty(0)
    for i, start in enumerate(starts):
        voices = separate(mixture[start : start + window])
        piece = slice(start, start + window)
        if i == 0:
            out = voices.new_zeros(len(voices), length)
        else:
            shared = min(starts[i - 1] + window, length) - start
            before = out[:, start : start + shared] / total[start : start + shared]
            voices = voices[memory.order(before, voices, shared)]
        memory.add(voices)
        out[:, piece] += weights * voices
        total[piece] += weights
        progress((i + 1) / len(starts))
    return out / total


class _Memory:
    """What each voice sounded like so far."""

    def __init__(self) -> None:
        self.spectra: torch.Tensor | None = None
        self.count = 0

    def add(self, voices: torch.Tensor) -> None:
        new = _spectrum(voices)
        self.spectra = new if self.spectra is None else self.spectra + new
        self.count += voices.shape[-1]

    def order(self, before: torch.Tensor, voices: torch.Tensor, shared: int) -> list[int]:
        """Return the order of ``voices`` ``[S, t]`` that continues ``before`` ``[S, shared]``."""
        assert self.spectra is not None
        overlap = voices[:, :shared]
        floor = FLOOR * (self.spectra.sum() / self.count * shared).sqrt()
        heard = before.norm() > floor and overlap.norm() > floor
        order, lead = _best_order(_correlation(before, overlap)) if heard else ([], 0.0)
        if lead < MARGIN:
            past = (self.spectra / self.count).clamp_min(1e-12).log()
            new = (_spectrum(voices) / voices.shape[-1]).clamp_min(1e-12).log()
            order, lead = _best_order(_correlation(past, new))
        return order


def _correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the normalised correlation ``[S, S]`` of the rows of ``a`` and ``b``, less what all rows share.

    Outputs that are not well separated are all much like the mixture: only what sets them apart tells who is who.
    """
    if len(a) > 1:
        a, b = a - a.mean(0), b - b.mean(0)
    size = a.norm(dim=-1)[:, None] * b.norm(dim=-1)
    return a @ b.T / size.clamp_min(1e-20)


def _best_order(scores: torch.Tensor) -> tuple[list[int], float]:
    """Return the order with the best mean of ``scores[i, order[i]]`` and its lead over the second best."""
    rows = range(len(scores))
    table = scores.tolist()
    ranked = sorted(((sum(table[i][p[i]] for i in rows), p) for p in permutations(rows)), reverse=True)
    lead = (ranked[0][0] - ranked[1][0]) / len(scores) if len(ranked) > 1 else 1.0
    return list(ranked[0][1]), lead


def _spectrum(voices: torch.Tensor, size: int = 256) -> torch.Tensor:
    """Return the energy ``[S, 32]`` of each voice in equal bands; the sum is close to that of the squared samples."""
    padded = F.pad(voices, (0, -voices.shape[-1] % size))
    frames = padded.unflatten(-1, (-1, size)) * torch.hann_window(size, device=voices.device)
    energy = torch.fft.rfft(frames).abs().square().sum(1)[:, 1:]
    # twice for the negative frequencies, by the window's power (3/8) and the length of the transform
    return energy.unflatten(-1, (32, -1)).sum(-1) * (2 / (0.375 * size))
