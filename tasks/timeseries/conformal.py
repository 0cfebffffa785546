"""Intervals around the point forecasts of any method, as wide as its held-out errors say.

    >>> intervals = Intervals.of(result, result.choice, levels=(80, 90))        # doctest: +SKIP
    >>> low_QKHN, high_QKHN = intervals.around(ahead_KHN, Origins.at_the_end(table))   # doctest: +SKIP
    >>> intervals.coverage("test")                                              # doctest: +SKIP
    {80: 0.803, 90: 0.901}

Split-conformal prediction: of ``n`` absolute errors the one of rank ``ceil((n + 1) * level)`` is the half width. Errors
of overlapping windows that drift are not exchangeable, so where a series has many of them the half width follows: only
the latest errors count, and the level is moved after each miss and hit (adaptive conformal inference: Gibbs and Candes
2021, arXiv 2106.00193; :mod:`tasks.timeseries.adaptive`). An error counts from the row on at which it is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.timeseries.adaptive import adaptive_radius, rank_of
from tasks.timeseries.backtest import Backtest, Part
from tasks.timeseries.methods import Origins, season_length, seasonal_scale

ENOUGH = 50
"""Validation forecasts from which on a series is calibrated by its own errors; with fewer, series share theirs."""


@dataclass(frozen=True)
class Intervals:
    """Half widths of intervals for one method.

    Attributes:
        levels: nominal coverage in percent, ascending.
        radius: part -> ``[Q, K, H, N]``, half widths around the forecasts of that part, each from what was known when
            it was made; NaN in the warm-up of the validation part.
        ahead: ``[Q, G, H, N]``, half widths around the forecasts of what follows the table.
        result: the backtest.
        name: the method.
    """

    levels: tuple[float, ...]
    radius: dict[Part, np.ndarray]
    ahead: np.ndarray
    result: Backtest
    name: str

    @classmethod
    def of(cls, result: Backtest, name: str, levels: Sequence[float] = (90,)) -> Intervals:
        """Calibrate on the held-out forecasts of one method; ``levels`` are percentages."""
        ordered = tuple(sorted(levels))
        share = np.array(ordered) / 100
        score = {part: np.abs(result.truth[part] - result.forecasts[part][name]) for part in ("val", "test")}
        radius, ahead = _pooled(result, score, share)
        for group in np.flatnonzero(np.bincount(result.plan.val.group, minlength=len(ahead[0])) >= ENOUGH):
            here = {part: getattr(result.plan, part).group == group for part in ("val", "test")}
            own = adaptive_radius(
                np.concatenate([score[part][here[part]] for part in ("val", "test")]),
                np.concatenate([getattr(result.plan, part).row[here[part]] for part in ("val", "test")]),
                share,
            )
            val, test, after = np.split(own, [here["val"].sum(), own.shape[1] - 1], axis=1)
            radius["val"][:, here["val"]] = val
            radius["test"][:, here["test"]] = np.where(np.isnan(test), radius["test"][:, here["test"]], test)
            ahead[:, group] = np.where(np.isnan(after[:, 0]), ahead[:, group], after[:, 0])
        return cls(ordered, radius, ahead, result, name)

    def around(self, forecast: np.ndarray, origins: Origins) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper ends, ``[Q, K, H, N]`` each, around forecasts ``[K, H, N]`` of the rows to come."""
        radius = self.ahead[:, origins.group]
        return forecast - radius, forecast + radius

    def held_out(self, part: Part = "test") -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper ends, ``[Q, K, H, N]`` each, around the forecasts of a part."""
        forecast = self.result.forecasts[part][self.name]
        return forecast - self.radius[part], forecast + self.radius[part]

    def coverage(self, part: Part = "test") -> dict[float, float]:
        """Return for each level the share of the values of a part that lie inside; NaN where there are none."""
        low, high = self.held_out(part)
        truth = self.result.truth[part]
        judged = ~np.isnan(low + truth)
        inside = (low <= truth) & (truth <= high)
        return {
            level: float(inside[index][judged[index]].mean()) if judged[index].any() else float("nan")
            for index, level in enumerate(self.levels)
        }


def _pooled(
    result: Backtest, score: dict[Part, np.ndarray], share: np.ndarray
) -> tuple[dict[Part, np.ndarray], np.ndarray]:
    """Return half widths from the errors of all series, each divided by the mean seasonal change of its series.

    A series that repeats itself exactly has none: its mean change from step to step stands in.

    Around test forecasts they come from the validation errors, around what follows the table from all errors.
    """
    table, plan, season = result.table, result.plan, season_length(result.table)
    known = {"val": plan.borders.train, "test": plan.borders.val, "ahead": table.lengths}
    scale = {}
    for part, rows in known.items():
        scale[part] = seasonal_scale(table, rows, season)
        if np.isnan(scale[part]).any():
            scale[part] = np.where(np.isnan(scale[part]), seasonal_scale(table, rows, 1), scale[part])
    relative = {part: score[part] / scale[part][getattr(plan, part).group][:, None] for part in ("val", "test")}
    steps = {
        "test": _by_step(relative["val"], share),
        "ahead": _by_step(np.concatenate([relative["val"], relative["test"]]), share),
    }
    # a series that never changed will not do so
    width = {part: np.nan_to_num(scale[part]) for part in ("test", "ahead")}
    test = steps["test"][:, None, :, None] * width["test"][plan.test.group][None, :, None]
    ahead = steps["ahead"][:, None, :, None] * width["ahead"][None, :, None]
    return {"val": np.full((len(share), *score["val"].shape), np.nan), "test": test}, ahead


def _by_step(relative: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the quantiles of relative errors ``[K, H, N]`` for each step, ``[Q, H]``.

    Where a step has too few errors, its neighbours on both sides lend theirs.
    """
    horizon = relative.shape[1]
    out = np.full((len(share), horizon), np.nan)
    for step in range(horizon):
        for reach in range(horizon):
            near = relative[:, max(0, step - reach) : step + reach + 1]
            near = np.sort(near[~np.isnan(near)])
            if len(near) >= ENOUGH:
                break
        if len(near):
            out[:, step] = near[rank_of(share, np.array(len(near))) - 1]
    return np.maximum.accumulate(out, axis=0)
