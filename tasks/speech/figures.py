"""Spectrograms; matplotlib without a screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from gated.engine.files import atomic_path

RANGE = 60.0
"""Decibel shown below the loudest spot of the first picture."""


def spectrogram(wave: torch.Tensor, size: int = 256) -> torch.Tensor:
    """Return the level ``[frequency, time]`` in decibel of ``[T]``."""
    window = torch.hann_window(size)
    spectrum = torch.stft(wave, size, hop_length=size // 4, window=window, return_complex=True)
    return 20 * (spectrum.abs() / window.sum()).clamp_min(1e-7).log10()


def plot_separation(
    mixture: tuple[str, torch.Tensor],
    pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    path: Path,
    *,
    sample_rate: int,
) -> Path:
    """Draw the mixture on top and, below it, a row for each voice: the estimate beside the true voice.

    All share one colour scale, so that what is left of the other voice shows.

    Args:
        mixture: title and samples ``[T]``.
        pairs: name of a voice -> (estimate, true voice), each ``[T]``.
        path: the PNG.
        sample_rate: hertz.
    """
    figure = Figure(figsize=(10, 2.4 * (1 + len(pairs))), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1 + len(pairs), 2)
    top = spectrogram(mixture[1]).max().item()
    first = figure.add_subplot(grid[0, :])
    image = _draw(first, mixture[1], mixture[0], sample_rate, top)
    axes = [first]
    for row, (name, (estimate, truth)) in enumerate(pairs.items(), 1):
        for column, (wave, what) in enumerate(((estimate, "separated"), (truth, "as recorded"))):
            axis = figure.add_subplot(grid[row, column], sharex=first, sharey=first)
            _draw(axis, wave, f"{name}, {what}", sample_rate, top)
            axis.tick_params(labelleft=column == 0, labelbottom=row == len(pairs))
            axis.set_ylabel("frequency (kHz)" if column == 0 else "")
            axis.set_xlabel("time (s)" if row == len(pairs) else "")
            axes.append(axis)
    first.set_ylabel("frequency (kHz)")
    figure.colorbar(image, ax=axes, label="level (dB)", shrink=0.6)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return path


def _draw(axis: Axes, wave: torch.Tensor, title: str, sample_rate: int, top: float) -> AxesImage:
    extent = (0, len(wave) / sample_rate, 0, sample_rate / 2000)
    image = axis.imshow(
        spectrogram(wave).numpy(),
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="magma",
        vmin=top - RANGE,
        vmax=top,
    )
    axis.set_title(title, fontsize=10)
    return image
