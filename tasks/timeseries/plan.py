"""Which rows are held out, and from which of them forecasts are made."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gated.errors import UserError
from tasks.timeseries.data import Borders
from tasks.timeseries.methods import Origins, season_length
from tasks.timeseries.table import Table

MAX_ORIGINS = 1000
"""Forecasts of each part, over all groups; a table of more groups has one of each."""
_MAX_VALUES = 20_000_000  # of the forecasts of one method and part: 160 MB
_PHASES = 6  # of the season, at least, in which forecasts begin


class Plan(NamedTuple):
    """A rolling-origin comparison.

    Attributes:
        horizon: steps of each forecast.
        borders: rows at which the training, validation and test rows of each group end. Methods are fitted on the
            training rows; a group with too few rows for all three is forecast, but not judged.
        val: where the forecasts begin that decide which method is chosen; all their targets are validation rows.
        test: where those begin that tell how good the choice is.
    """

    horizon: int
    borders: Borders
    val: Origins
    test: Origins


def plan(table: Table, horizon: int, *, borders: Borders | None = None, max_origins: int = MAX_ORIGINS) -> Plan:
    """Hold out the last tenth of each group for the test and the tenth before for the choice.

    Either tail is at least one horizon long. Forecasts begin every few rows, as many as ``max_origins`` allows, and
    in many phases of the season; the last one ends with its part.

    Args:
        table: the series.
        horizon: steps to forecast.
        borders: where the parts end, instead.
        max_origins: forecasts of each part, over all groups.

    Raises:
        UserError: no group is long enough.
    """
    if horizon < 1:
        raise UserError("the horizon must be positive", expected=">= 1", found=str(horizon))
    lengths = table.lengths
    if borders is None:
        tails = np.maximum(horizon, lengths // 10)
        borders = Borders(np.maximum(0, lengths - 2 * tails), np.maximum(0, lengths - tails), lengths)
    judged = np.minimum(borders.val - borders.train, borders.test - borders.val) >= horizon
    judged &= borders.train >= horizon
    if not judged.any():
        raise UserError(
            "the table is too short for this horizon",
            expected=f"at least {3 * horizon} rows: to learn from, to choose by and to test on",
            found=f"{lengths.max()} rows" + (" in the longest series" if len(lengths) > 1 else ""),
            hint="give a longer history or ask for fewer steps",
        )
    most = min(max_origins, _MAX_VALUES // (horizon * len(table.columns)))
    season = season_length(table)
    val, test = (
        _origins(start, stop, judged, horizon, most, season)
        for start, stop in ((borders.train, borders.val), (borders.val, borders.test))
    )
    return Plan(horizon, borders, val, test)


def _origins(start: np.ndarray, stop: np.ndarray, judged: np.ndarray, horizon: int, most: int, season: int) -> Origins:
    """Return evenly spaced origins whose targets lie in ``[start, stop)``, the last one as late as can be."""
    phases = min(season, _PHASES)
    room = np.where(judged, stop - start - horizon + 1, 0)
    step = 1
    while -(-room // step).sum() > max(most, judged.sum()) or season // math.gcd(step, season) < phases:
        step += 1
    counts = -(-room // step)
    group = np.repeat(np.arange(len(counts)), counts)
    back = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(group))
    return Origins(group, stop[group] - horizon - back * step)
