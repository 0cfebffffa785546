"""What is worth knowing about a table that needed no repair: missing values, constant series."""

from __future__ import annotations

import numpy as np

from tasks.timeseries.table import Table

_SHOWN = 3
_EACH = 5  # columns that are named one by one


def observations(table: Table, added: np.ndarray | None) -> tuple[str, ...]:
    """Return notes on missing values and constant series of a table.

    Args:
        table: the series.
        added: ``[T]``, which rows were not there: these are told already.
    """
    missing = np.isnan(table.values.to_numpy())
    if added is not None:
        missing[added] = False
    counts = missing.sum(axis=0)
    notes = []
    holes = [name for name, count in zip(table.values.columns, counts, strict=True) if count]
    if len(holes) > _EACH:
        notes.append(f"{counts.sum()} missing values in {len(holes)} columns")
    else:
        for name in holes:
            rows = np.flatnonzero(missing[:, table.values.columns.get_loc(name)])
            dates = ", ".join(table.layout.date_format.write(table.values.index[rows[:_SHOWN]]))
            notes.append(
                f"column {name!r}: {len(rows)} missing value(s) ({dates}{', ...' if len(rows) > _SHOWN else ''})"
            )
    names = constant(table)
    if names:
        shown = ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
        notes.append(f"{len(names)} series never change: {shown}")
    return tuple(notes)


def constant(table: Table) -> list[str]:
    """Return the names of the series that have one value all along; in long layout those of the groups."""
    values = table.values[table.columns].to_numpy()
    low = np.minimum.reduceat(np.where(np.isnan(values), np.inf, values), table.offsets[:-1])
    high = np.maximum.reduceat(np.where(np.isnan(values), -np.inf, values), table.offsets[:-1])
    flat = low == high
    if table.layout.id_column is None:
        return [name for name, is_flat in zip(table.columns, flat[0], strict=True) if is_flat]
    return [table.ids[group] for group in np.flatnonzero(flat.any(axis=1))]
