"""A large table is worked through in parts: what comes out is that of the whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from tasks.timeseries.methods.base import Origins, last_seen, past_of, seasonal_scale, truth_of
from tasks.timeseries.panel import Panel, Scaler
from tasks.timeseries.reading import from_frame
from tasks.timeseries.table import Table


@pytest.fixture
def table() -> Table:
    """Five series of 9 to 40 days with gaps, a covariate known ahead and one that is not."""
    random = np.random.default_rng(0)
    frames = []
    for name, rows in enumerate((12, 9, 40, 17, 25)):
        values = random.normal(size=(rows, 3)) * 10**name
        values[random.random(rows) < 0.2, 0] = np.nan
        values[-3:, 0] = np.nan
        dates = pd.date_range("2024-01-01", periods=rows)
        frames.append(pd.DataFrame({"id": f"s{name}", "ds": dates, **dict(zip("yab", values.T, strict=True))}))
    return from_frame(pd.concat(frames, ignore_index=True), target="y", past="a", future="b")


@pytest.mark.parametrize("rows", [1, 30, 1000])
def test_parts_are_runs_of_whole_groups(table: Table, rows: int) -> None:
    parts = list(table.parts(rows))
    assert parts[0][0].start == 0
    assert parts[-1][0].stop == len(table.ids)
    assert all(one.stop == other.start for (one, _), (other, _) in pairwise(parts))
    assert all(len(part.values) <= rows or len(part.ids) == 1 for _, part in parts)
    pd.testing.assert_frame_equal(pd.concat([part.values for _, part in parts]), table.values)
    for groups, part in parts:
        assert part.ids == table.ids[groups]
        np.testing.assert_array_equal(part.lengths, table.lengths[groups])
        np.testing.assert_array_equal(part.ahead, table.ahead[groups])


def test_whatever_is_worked_out_in_parts_is_that_of_the_whole(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    def worked_out() -> list[np.ndarray | torch.Tensor]:
        train, origins = table.lengths * 2 // 3, Origins.at_the_end(table)
        scaler = Scaler.fit(table, train)
        panel = Panel.build(table, scaler, horizon=3, padding=np.arange(len(table.ids)))
        rows = [last_seen(table), last_seen(table, 7), seasonal_scale(table, train, 7)]
        around = [past_of(table, origins, 6), truth_of(table, Origins(origins.group, train), 3)]
        return [*rows, *around, scaler.mean, scaler.std, panel.filled, panel.missing]

    whole = worked_out()
    monkeypatch.setattr(Table, "parts", lambda self, of=Table.parts: of(self, rows=20))
    assert len(list(table.parts())) > 2
    for got, expected in zip(worked_out(), whole, strict=True):
        np.testing.assert_array_equal(got, expected)
