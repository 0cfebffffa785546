"""The end of each group: rows without a target are what is known ahead, or nothing."""

from __future__ import annotations

import numpy as np

from tasks.timeseries.reading.regular import Regular

KNOWN_AHEAD = "hold what is known ahead"
"""How a note ends that tells of no repair."""


def cut_ends(
    table: Regular, targets: int, future: int
) -> tuple[Regular, np.ndarray | None, np.ndarray, tuple[str, ...]]:
    """Cut the rows that follow the last target of each group.

    With future covariates these rows are what is known ahead. Without, only rows without any value are cut. Groups
    without a single target are left out.

    Args:
        table: columns are targets first and future covariates last.
        targets: number of targets.
        future: number of future covariates.

    Returns:
        the table, ``[G, K, F]`` values known ahead (K the fewest of any group) or None, ``[G]`` which groups are left,
        and notes.
    """
    values, offsets = table.values, table.offsets
    row = np.arange(len(values))
    has_target = ~np.isnan(values[:, :targets]).all(axis=1)
    keeps = has_target if future else ~np.isnan(values).all(axis=1)
    stops = np.maximum.reduceat(np.where(keeps, row, -1), offsets[:-1]) + 1
    alive = np.maximum.reduceat(has_target, offsets[:-1])
    notes = []
    ahead = None
    if future:
        known = ~np.isnan(values[:, -future:]).any(axis=1)
        first_gap = np.minimum.reduceat(
            np.where(known | (row < np.repeat(stops, np.diff(offsets))), len(values), row), offsets[:-1]
        )
        counts = (np.minimum(first_gap, offsets[1:]) - stops)[alive]
        steps = int(counts.min()) if len(counts) else 0
        ahead = values[stops[alive][:, None] + np.arange(steps), -future:]
        if steps:
            notes.append(f"{steps} row(s) at the end without targets {KNOWN_AHEAD}")
        if len(counts) and counts.max() > steps:
            notes.append(f"some series know {counts.max()} rows ahead: the first {steps} that all know are used")
    else:
        cut = int((offsets[1:] - stops)[alive].sum())
        if cut:
            notes.append(f"{cut} row(s) without any value at the end left out")
    kept = (row < np.repeat(stops, np.diff(offsets))) & np.repeat(alive, np.diff(offsets))
    lengths = (stops - offsets[:-1])[alive]
    table = Regular(
        values if kept.all() else values[kept],
        table.dates if kept.all() else table.dates[kept],
        np.concatenate([[0], np.cumsum(lengths)]),
        table.frequency,
        table.notes,
        None if table.added is None else table.added[kept],
    )
    return table, ahead, alive, tuple(notes)
