"""Pictures of forecasts and of gates; matplotlib without a screen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, EngFormatter

from gated.engine.files import atomic_path
from tasks.timeseries.methods import Origins
from tasks.timeseries.models import Gates
from tasks.timeseries.study import Forecast, Study
from tasks.timeseries.table import Table

INK, GRID, MODEL, TRUTH = "#1f2933", "#e4e9ef", "#0b6e99", "#1f2933"
RIVALS = ("#d98a1f", "#8f9bab", "#a45fb0")
SHARE = LinearSegmentedColormap.from_list("share", ["#b65a1c", "#f4f1ec", "#0b6e99"])
"""0 (brown) over one half (pale) to 1 (blue): gate values."""
_MAX_PANELS = 12


def plot_forecast(ahead: Forecast, path: Path, *, study: Study | None = None) -> Path:
    """Draw the tail of each series, its forecast and the widest interval; the first twelve series.

    Args:
        ahead: the forecast.
        path: PNG to write.
        study: draw as well what was forecast for the last known rows before they were known, dashed.
    """
    table = ahead.table
    shown = [(g, n) for g in range(len(table.ids)) for n in range(len(ahead.columns))][:_MAX_PANELS]
    figure, panels = _panels(len(shown))
    horizon = ahead.middle.shape[1]
    level = max(ahead.bounds, default=None)
    for axis, (group, place) in zip(panels, shown, strict=True):
        name = ahead.columns[place]
        history = table.group(group)[name].iloc[-max(5 * horizon, 60) :]
        dates = table.future_dates(horizon, group)
        axis.axvspan(dates[0], dates[-1], color=MODEL, alpha=0.06, lw=0)
        axis.plot(history.index, history, color=TRUTH, lw=1.3, label="history")
        if study is not None and table.lengths[group] > 2 * horizon:
            known = hindcast(study, study.chosen, group, int(table.lengths[group]) - horizon)[name]
            axis.plot(known.index, known, color=MODEL, lw=1.4, ls=(0, (3, 2)), label="forecast of known rows")
        if level is not None:
            low, high = (end[group, :, place] for end in ahead.bounds[level])
            axis.fill_between(dates, low, high, color=MODEL, alpha=0.18, lw=0, label=f"{level:g} % interval")
        middle = ahead.middle[group, :, place]
        axis.plot(history.index[-1:].append(dates), [history.iloc[-1], *middle], color=MODEL, lw=2.0, label="forecast")
        _style(axis, " / ".join(part for part in (table.ids[group], name) if part))
    _legend(figure, panels[0])
    return _save(figure, path)


def hindcast(study: Study, method: str, group: int, row: int) -> pd.DataFrame:
    """Return what a method, fitted to the training rows, says of the rows from ``row`` on, knowing those before it."""
    table, horizon = study.table, study.backtest.plan.horizon
    ahead = study.backtest.methods[method].predict(table, horizon, Origins(np.array([group]), np.array([row])))[0]
    dates = table.group(group).index[row : row + horizon]
    return pd.DataFrame(ahead[: len(dates)], index=dates, columns=table.columns)


def plot_held_out(
    table: Table,
    hindcasts: Mapping[str, Sequence[pd.DataFrame]],
    path: Path,
    *,
    history: int,
    title: str,
    names: list[str],
) -> Path:
    """Draw held-out stretches one after the other: what happened, and what each forecast said at their starts.

    Args:
        table: the truth.
        hindcasts: name -> forecasts of adjacent stretches, the same ones for each; the first name is drawn strongest.
        path: PNG to write.
        history: rows to show before the first stretch.
        title: above the figure.
        names: the series to show.
    """
    starts = [frame.index[0] for frame in next(iter(hindcasts.values()))]
    known = table.values.iloc[max(0, table.values.index.get_loc(starts[0]) - history) :]
    figure, panels = _panels(len(names))
    for axis, name in zip(panels, names, strict=True):
        axis.axvspan(starts[0], known.index[-1], color=MODEL, alpha=0.05, lw=0)
        for start in starts:
            axis.axvline(start, color="#c3ccd6", lw=0.8, zorder=1)
        axis.plot(known.index, known[name], color=TRUTH, lw=1.4, label="what happened", zorder=2)
        for place, (label, frames) in reversed(list(enumerate(hindcasts.items()))):
            colour, width = (MODEL, 2.2) if place == 0 else (RIVALS[(place - 1) % len(RIVALS)], 1.3)
            for frame in frames:
                text = label if frame is frames[0] else None
                axis.plot(frame.index, frame[name], color=colour, lw=width, label=text, zorder=4 - place / 10)
        _style(axis, name)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    _legend(figure, panels[0])
    return _save(figure, path)


def plot_gates(gates: Gates, names: list[str], path: Path) -> Path:
    """Draw the two gates of one window: a row each series, a column each channel, sorted by mean.

    Args:
        gates: values ``[1, N, d_model]``.
        names: the series.
        path: PNG to write.
    """
    figure = _new_figure(9.5, 1.0 + 0.62 * len(names))
    ends = (("attended patches", "whole window"), ("the other series", "itself"))
    titles = ("over time: a series is seen as", "over series: a series listens to")
    for axis, gate, title, (low, high) in zip(figure.subplots(1, 2), gates, titles, ends, strict=True):
        share = gate[0].float().numpy()
        share = share[:, np.argsort(share.mean(0))]
        picture = axis.imshow(share, cmap=SHARE, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axis.set_title(title, fontsize=10, color=INK, loc="left")
        means = [f"{name}  {mean:.2f}" for name, mean in zip(names, share.mean(1), strict=True)]
        axis.set_yticks(range(len(names)), means, fontsize=8, color=INK)
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_xlabel("channels, sorted by their mean", fontsize=8, color=INK)
        bar = figure.colorbar(picture, ax=axis, orientation="horizontal", fraction=0.06, pad=0.04, ticks=[0, 0.5, 1])
        bar.ax.set_xticklabels([f"0: {low}", "0.5", f"1: {high}"], fontsize=8, color=INK)
        bar.outline.set_visible(False)
    return _save(figure, path)


def _new_figure(width: float, height: float) -> Figure:
    """Return a figure that belongs to no window and so needs no closing."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``count`` panels, one below the other up to three, then in two columns."""
    columns = 1 if count <= 3 else 2
    rows = math.ceil(count / columns)
    figure = _new_figure(9.5, 0.8 + (2.6 if columns == 1 else 2.1) * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in panels[count:]:
        axis.set_visible(False)
    return figure, panels[:count]


def _style(axis: Axes, name: str) -> None:
    axis.set_title(name, fontsize=10, color=INK, loc="left")
    axis.grid(axis="y", color=GRID, lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color("#aab4c0")
    axis.tick_params(colors=INK, labelsize=8, length=0)
    if not isinstance(axis.xaxis.get_major_locator(), AutoLocator):  # dates, not whole numbers
        locator = AutoDateLocator(minticks=4, maxticks=8)
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    low, high = axis.get_ylim()
    if max(abs(low), abs(high)) >= 10_000:
        axis.yaxis.set_major_formatter(EngFormatter(sep=""))
    axis.margins(x=0.01)


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=len(labels), frameon=False, fontsize=9, labelcolor=INK
    )


def _save(figure: Figure, path: Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return path
