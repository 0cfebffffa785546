"""A table as tensors: every group standardised, gaps filled for the eye of a model but never as a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from gated.errors import UserError
from tasks.timeseries.table import Table


class Scaler(NamedTuple):
    """Mean and standard deviation (ddof 0) over the training rows: ``[G, C]`` each.

    Targets and past covariates have a scale in each group; what is known ahead has one for all, so that its level means
    the same everywhere. ``static`` holds mean and deviation of the static covariates over groups, ``[2, S]``.
    """

    mean: np.ndarray
    std: np.ndarray
    static: np.ndarray | None = None

    @classmethod
    def fit(cls, table: Table, train: np.ndarray) -> Scaler:
        """Fit on the first ``train [G]`` rows of each group; a constant series keeps a deviation of 1."""
        pooled = np.isin(table.values.columns, table.future)
        mean = _mean(table, train, pooled)
        std = np.sqrt(_mean(table, train, pooled, about=mean))
        static = None
        if table.static is not None:
            numbers = table.static.to_numpy(dtype=np.float64)
            spread = numbers.std(axis=0)
            static = np.stack([numbers.mean(axis=0), np.where(spread > 0, spread, 1.0)])
        return cls(mean, np.where(std > 0, std, 1.0), static)

    def of(self, groups: slice) -> Scaler:
        """Return the scales of some groups."""
        return self._replace(mean=self.mean[groups], std=self.std[groups])

    def unscale(self, values: torch.Tensor, groups: np.ndarray | int = 0) -> np.ndarray:
        """Return standardised targets ``[..., N]`` in the units of the table, float64; ``groups`` one for each item."""
        count = values.shape[-1]
        mean, std = (np.asarray(part[groups])[..., :count] for part in (self.mean, self.std))
        extra = (1,) * (values.dim() - mean.ndim)
        mean, std = (part.reshape(*part.shape[:-1], *extra, count) for part in (mean, std))
        return values.double().numpy() * std + mean


@dataclass(frozen=True)
class Panel:
    """All rows of a table as one tensor, each group followed by the ``horizon`` rows that are to be forecast.

    Those rows are there to be filled with what is known ahead; they are no targets, whatever ``filled`` holds in them.

    Attributes:
        filled: ``[R, C]`` float32, standardised; a gap repeats the value before it, the start of a series its first.
        missing: ``[R, C]``, what is no target; None where everything is there.
        starts: ``[G]``, where the first row of each group lies in ``filled``.
        lengths: ``[G]``, known rows of each group.
        num_targets: the first columns; past and future covariates follow.
        num_past: past covariates.
        static: ``[G, S]`` standardised, or None.
    """

    filled: torch.Tensor
    missing: torch.Tensor | None
    starts: np.ndarray
    lengths: np.ndarray
    num_targets: int
    num_past: int
    static: torch.Tensor | None

    @classmethod
    def build(cls, table: Table, scaler: Scaler, *, horizon: int, padding: np.ndarray) -> Panel:
        """Lay out a table.

        Args:
            table: the series.
            scaler: fitted on its training rows.
            horizon: rows to append to each group.
            padding: ``[G]``, rows to put before each group.

        Raises:
            UserError: what is to be known ahead is not known for the whole horizon.
        """
        lengths, columns = table.lengths, len(table.values.columns)
        spans = padding + lengths + horizon
        starts = np.cumsum(spans) - spans + padding
        filled = np.empty((int(spans.sum()), columns), dtype=np.float32)
        missing = np.empty(filled.shape, dtype=bool)
        unseen = bool(padding.any())
        for groups, part in table.parts():
            begin = starts[groups] - padding[groups]
            place = slice(int(begin[0]), int(begin[0] + spans[groups].sum()))
            laid, rows = _laid(part, scaler.of(groups), starts[groups] - place.start, spans[groups], horizon)
            filled[place], missing[place] = _fill(
                laid, begin - place.start, starts[groups] - place.start, horizon, len(table.columns)
            )
            unseen = unseen or bool(missing[place][rows].any())
        static = None
        if table.static is not None and scaler.static is not None:
            scaled = (table.static.to_numpy(dtype=np.float64) - scaler.static[0]) / scaler.static[1]
            static = torch.from_numpy(scaled.astype(np.float32))
        return cls(
            torch.from_numpy(filled),
            torch.from_numpy(missing) if unseen else None,
            starts,
            lengths,
            len(table.columns),
            len(table.past),
            static,
        )


def require_ahead(table: Table, horizon: int) -> None:
    """Check that every column that should be known ahead is known for ``horizon`` steps.

    Raises:
        UserError: naming the columns and how many rows there are.
    """
    known = 0 if table.ahead is None else table.ahead.shape[1]
    if table.future and known < horizon:
        raise UserError(
            "the columns known ahead end too early: " + ", ".join(map(repr, table.future)),
            expected=f"{horizon} rows after the last target",
            found=f"{known}",
            hint="append rows with these columns filled and the targets empty, or lower the horizon",
        )


def _laid(
    table: Table, scaler: Scaler, starts: np.ndarray, spans: np.ndarray, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with each group at its place and NaN between them, and where the rows of the table are."""
    columns = len(table.values.columns)
    values = np.full((int(spans.sum()), columns), np.nan, dtype=np.float32)
    groups = _group_of_row(table.lengths)
    rows = starts[groups] + _row_in_group(table.lengths)
    values[rows] = (table.values.to_numpy() - scaler.mean[groups]) / scaler.std[groups]
    if table.future and table.ahead is not None:
        known = min(horizon, table.ahead.shape[1])
        place = (starts + table.lengths)[:, None] + np.arange(known)
        part = slice(columns - len(table.future), columns)
        values[place, part] = (table.ahead[:, :known] - scaler.mean[:, None, part]) / scaler.std[:, None, part]
    return values, rows


def _fill(
    values: np.ndarray, begins: np.ndarray, starts: np.ndarray, horizon: int, targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values with every gap filled, and where something is no target."""
    missing = np.isnan(values)
    row = np.arange(len(values))
    spans = np.diff(np.append(begins, len(values)))
    begin, stop = np.repeat(begins, spans), np.repeat(begins + spans, spans)
    filled = values
    no_target = missing.copy()
    for column in range(values.shape[1]):
        absent = missing[:, column]
        if not absent.any():
            continue
        before = np.maximum.accumulate(np.where(absent, -1, row))
        after = np.minimum.accumulate(np.where(absent, len(row), row)[::-1])[::-1]
        has_before, has_after = before >= begin, after < stop
        source = np.where(has_before, before, np.where(has_after, after, 0))
        filled[:, column] = np.where(has_before | has_after, filled[source, column], 0.0)
        if column < targets:
            # a series that starts late: before its first value a window would show that value itself
            first = np.where(absent[begins], after[begins], begins)
            for late in first[(first > starts) & (first < begins + spans)]:
                no_target[late : late + horizon, column] = True
    return filled, no_target


def _mean(table: Table, train: np.ndarray, pooled: np.ndarray, about: np.ndarray | None = None) -> np.ndarray:
    """Return the mean of what the first ``train`` rows of each group hold, ``[G, C]``; of all where ``pooled [C]``.

    With ``about [G, C]`` it is that of the squared deviation.
    """
    sums, counts = [], []
    for run, part in table.parts():
        values, groups = part.values.to_numpy(), _group_of_row(part.lengths)
        seen = ~np.isnan(values) & (_row_in_group(part.lengths) < train[run][groups])[:, None]
        if about is not None:
            values = np.square(values - about[run][groups])
        for kept, rows in ((sums, np.where(seen, values, 0.0)), (counts, seen)):
            kept.append(np.add.reduceat(rows, part.offsets[:-1], axis=0, dtype=np.float64))
    total, count = np.concatenate(sums), np.concatenate(counts)
    total[:, pooled], count[:, pooled] = total[:, pooled].sum(0), count[:, pooled].sum(0)
    return np.asarray(total / np.maximum(count, 1))


def _group_of_row(lengths: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(lengths)), lengths)


def _row_in_group(lengths: np.ndarray) -> np.ndarray:
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
