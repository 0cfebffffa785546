"""Numbers that loggers write where there is no value, such as -999."""

from __future__ import annotations

import numpy as np

SENTINELS = (-99, -200, -999, -9999, -99999, -999999, 999, 9999, 99999, 999999)
"""Numbers that may stand for a missing value."""
_REPEATED = 3


def without_sentinels(values: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """Return values with those that are plainly sentinels made NaN, and how often each was there.

    A sentinel is repeated and far outside the range of the other values: beyond it by more than its width, or the only
    negative number of a column.

    Args:
        values: ``[R]``, NaN where missing.
    """
    suspects = np.isin(values, SENTINELS)
    if suspects.sum() < _REPEATED:
        return values, {}
    others = values[~suspects & ~np.isnan(values)]
    if not len(others):
        return values, {}
    low, high = others.min(), others.max()
    found = {}
    for number in SENTINELS:
        count = int((values == number).sum())
        distance = max(low - number, number - high)
        alone = number < 0 <= low
        if count >= _REPEATED and distance > 0 and (alone or distance > max(high - low, abs(high), abs(low))):
            found[number] = count
    return np.where(np.isin(values, list(found)), np.nan, values) if found else values, found
