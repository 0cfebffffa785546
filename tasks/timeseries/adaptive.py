"""Half widths that follow the errors of one group of series through time (adaptive conformal inference)."""

from __future__ import annotations

import numpy as np

WINDOW = 250
"""Latest errors that count."""
RATE = 0.01
"""Step by which the level moves; with the window chosen on the validation rows of ETTh1, ETTh2 and exchange_rate."""
_WARM = 20
_SORTS = 400  # windows that are sorted: beyond as many origins, neighbours share one


def rank_of(level: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the rank, from 1, of the conformal quantile among ``count`` errors: ``ceil((count + 1) * level)``.

    Beyond the largest error nothing is known: it stands in.
    """
    rank = np.ceil((count + 1) * level - 1e-9).astype(int)
    return np.clip(rank, 1, np.maximum(count, 1))


def adaptive_radius(score_KHN: np.ndarray, row: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the half width for each level at each origin and after the last one, ``[Q, K + 1, H, N]``.

    At each origin the errors that have become known move the level that is aimed at: ``miss <- miss + rate * (wanted -
    missed)``, for each series and step of the forecast by itself. The half width is that quantile of the latest errors.

    Args:
        score_KHN: absolute errors, NaN where there is no truth.
        row: ``[K]`` ascending; the error of step ``h`` is known at an origin after ``row + h``.
        level: ``[Q]`` ascending shares.

    Returns:
        NaN before enough errors are known.
    """
    count, horizon, series = score_KHN.shape
    score_HNK = np.ascontiguousarray(score_KHN.transpose(1, 2, 0))
    wanted = (1 - level)[:, None, None]
    miss_QHN = np.broadcast_to(wanted, (len(level), horizon, series)).copy()
    radius = np.full((len(level), count + 1, horizon, series), np.nan)
    steps, seen, errors = np.arange(horizon), np.zeros(horizon, dtype=int), None
    every = -(-(count + 1) // _SORTS)
    for index in range(count + 1):
        known = np.searchsorted(row, row[index] - steps) if index < count else np.full(horizon, count)
        for new in range(int((known - seen).max())):
            at = np.minimum(seen + new, count - 1)
            radius_QHN, score_HN = radius[:, at, steps], score_HNK[steps, :, at]
            judged = ~np.isnan(radius_QHN + score_HN) & (seen + new < known)[:, None]
            miss_QHN += np.where(judged, RATE * (wanted - (score_HN > radius_QHN)), 0.0)
        seen = known
        if known.min() < _WARM:
            continue
        if errors is None or index % every == 0 or index == count:
            errors = _latest(score_HNK, known)
        rank = rank_of(1 - miss_QHN, np.isfinite(errors).sum(axis=-1))
        picked = np.take_along_axis(errors, rank.transpose(1, 2, 0) - 1, axis=-1).transpose(2, 0, 1)
        radius[:, index] = np.maximum.accumulate(picked, axis=0)
    return radius


def _latest(score_HNK: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the latest of the first ``known [H]`` scores of each step, sorted, NaN last: ``[H, N, up to WINDOW]``."""
    latest = known[:, None, None] - np.arange(1, min(WINDOW, int(known.max())) + 1)
    errors = np.take_along_axis(score_HNK, np.maximum(latest, 0), axis=-1)
    return np.sort(np.where(latest >= 0, errors, np.nan), axis=-1)
