"""Pictures of what a vision network does; matplotlib without a screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from gated.engine.files import atomic_path

INK = "#1f2933"
SHARE = LinearSegmentedColormap.from_list("share", ["#f3f6fa", "#7fb2d6", "#1b4f7a"])
"""0 (pale) to 1 (dark blue): counts, shares, gate values."""
HEAT = LinearSegmentedColormap.from_list(
    "heat", [(0.9, 0.1, 0.1, 0.0), (0.95, 0.25, 0.1, 0.45), (1.0, 0.85, 0.1, 0.85)]
)
"""Transparent to yellow, to lie over an image."""


def new_figure(width: float, height: float) -> Figure:
    """Return a figure that belongs to no window and so needs no closing."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG and return its path."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return path


def show_image(axis: Axes, image: torch.Tensor, title: str = "") -> None:
    """Show ``[C, H, W]`` stretched to its own range, without ticks."""
    pixels = image.float()
    pixels = (pixels - pixels.amin()) / (pixels.amax() - pixels.amin()).clamp_min(1e-6)
    if pixels.shape[0] == 1:
        axis.imshow(pixels[0].numpy(), cmap="gray")
    else:
        axis.imshow(pixels.permute(1, 2, 0).numpy())
    bare(axis, title)


def overlay(
    axis: Axes, image: torch.Tensor, weights: torch.Tensor, title: str = "", *, top: float | None = None
) -> None:
    """Show ``[C, H, W]`` with ``weights`` ``[h, w]`` over it as heat.

    Args:
        axis: where to draw.
        image: the picture below.
        weights: any resolution; stretched over the image.
        title: above the picture.
        top: the weight that is drawn hottest; by default the largest, but no less than three times an even share, so
            that looking everywhere alike stays pale.
    """
    show_image(axis, image.mean(0, keepdim=True), title)
    height, width = image.shape[1:]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    smooth = "bilinear" if weights.numel() > 256 else "nearest"
    top = top or max(weights.max().item(), 3 / weights.numel())
    axis.imshow(weights.float().numpy(), cmap=HEAT, extent=extent, interpolation=smooth, vmin=0, vmax=top)


def gate_table(axis: Axes, gates: Mapping[int, torch.Tensor], title: str, *, change: bool = False) -> None:
    """Draw one number a head (columns) and layer (rows): the share of position, or by how much it changed."""
    table = torch.stack(list(gates.values())).float().numpy()
    limit = max(np.abs(table).max(), 0.05)
    colours = {"cmap": "RdBu", "vmin": -limit, "vmax": limit} if change else {"cmap": SHARE, "vmin": 0, "vmax": 1}
    axis.imshow(table, aspect="auto", **colours)
    for (row, column), value in np.ndenumerate(table):
        dark = abs(value) > 0.6 * limit if change else value > 0.55
        text = f"{value:+.2f}" if change else f"{value:.2f}"
        axis.text(column, row, text, ha="center", va="center", color="white" if dark else INK, fontsize=9)
    axis.set_xticks(range(table.shape[1]), [f"head {i + 1}" for i in range(table.shape[1])], fontsize=8)
    axis.set_yticks(range(table.shape[0]), [f"layer {i + 1}" for i in gates], fontsize=8)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(title, fontsize=10, color=INK)


def confusion_matrix(counts: torch.Tensor, labels: list[str], path: Path, title: str) -> Path:
    """Draw counts ``[true, predicted]``; a zero is left blank."""
    side = max(3.6, 0.42 * len(labels) + 1.2)
    figure = new_figure(side + 0.4, side)
    axis = figure.subplots()
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    axis.imshow(shares.numpy(), cmap=SHARE, vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts.numpy()):
        if count:
            colour = "white" if shares[row, column] > 0.55 else "#b3261e" if row != column else INK
            axis.text(column, row, int(count), ha="center", va="center", color=colour, fontsize=9)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(title, fontsize=11, color=INK)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return save(figure, path)


def gate_tables(before: Mapping[int, torch.Tensor], after: Mapping[int, torch.Tensor], path: Path) -> Path:
    """Draw the gates before training, after it, and the change."""
    num_heads = len(next(iter(after.values())))
    figure = new_figure(3 * max(2.6, 0.62 * num_heads + 0.8), 0.5 * len(after) + 1.3)
    axes = figure.subplots(1, 3)
    gate_table(axes[0], before, "before training")
    gate_table(axes[1], after, "after training")
    gate_table(axes[2], {layer: after[layer] - before[layer] for layer in after}, "change", change=True)
    figure.suptitle("share of position in each head: 1 looks at a place, 0 at what is there", fontsize=10, color=INK)
    return save(figure, path)


def bare(axis: Axes, title: str = "") -> None:
    """Take ticks and frame away and set the title."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.set_title(title, fontsize=9, color=INK)
