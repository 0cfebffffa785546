from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from gated.errors import UserError
from tasks.timeseries.data import Borders, SeriesTable, TableWindows, ett_borders, share_borders
from tasks.timeseries.dates import DateFormat
from tasks.timeseries.panel import Panel, Scaler, require_ahead
from tasks.timeseries.table import Layout, Table
from tasks.timeseries.windows import Windows

LAYOUT = Layout("date", DateFormat("%Y-%m-%d"))


def counting(rows: int = 50, series: int = 2) -> np.ndarray:
    """Values that tell their own row and column."""
    return np.arange(rows)[:, None] + 1000.0 * np.arange(series)


def table_of(*groups: np.ndarray, freq: str = "D", **fields) -> Table:
    """A table of one or more groups; columns are s0, s1, ... unless ``names`` says otherwise."""
    names = fields.pop("names", [f"s{i}" for i in range(groups[0].shape[1])])
    frames = [
        pd.DataFrame(values, pd.date_range("2020-01-01", periods=len(values), freq=freq, name="date"), names, float)
        for values in groups
    ]
    ids = tuple(f"g{i}" for i in range(len(groups))) if len(groups) > 1 else ("",)
    offsets = np.cumsum([0, *(len(values) for values in groups)])
    return Table(pd.concat(frames), freq, LAYOUT, ids=ids, offsets=offsets, **fields)


def data_of(table: Table, **options) -> TableWindows:
    return TableWindows(table, **{"input_size": 10, "horizon": 4, **options})


def test_windows_are_views_of_the_table():
    data = data_of(table_of(counting()), input_size=5, horizon=3, split=(0.6, 0.2, 0.2))
    windows = data.windows("train")
    assert len(windows) == 30 - 5 - 3 + 1
    x, y = (data.scaler.unscale(part) for part in windows[7][:2])
    assert x[:, 1].round().tolist() == [1007, 1008, 1009, 1010, 1011]
    assert y[:, 0].round().tolist() == [12, 13, 14]
    assert windows.view.untyped_storage().data_ptr() == data.panel.filled.untyped_storage().data_ptr()


def test_batches_equal_single_windows():
    windows = data_of(table_of(np.random.randn(80, 3))).windows("train")
    batch = windows.__getitems__([3, 0, 31])
    for place, index in enumerate((3, 0, 31)):
        torch.testing.assert_close((batch.x[place], batch.y[place]), windows[index][:2])
    assert batch.covariates == {}


def test_targets_of_the_parts_never_meet():
    data = data_of(table_of(counting(100)), split=(0.6, 0.2, 0.2))
    rows = {}
    for part in ("train", "val", "test"):
        windows = data.windows(part)
        y = windows.__getitems__(range(len(windows))).y
        rows[part] = set(data.scaler.unscale(y.reshape(-1, 2))[:, 0].round().astype(int).tolist())
    assert rows["train"] == set(range(10, 60))  # the first ten have no past
    assert rows["val"] == set(range(60, 80))
    assert rows["test"] == set(range(80, 100))


def test_window_counts_are_those_of_the_benchmarks():
    rows = np.random.default_rng(0).normal(size=(17420, 1))
    for horizon, train, test in ((96, 8449, 2785), (192, 8353, 2689), (336, 8209, 2545), (720, 7825, 2161)):
        data = data_of(table_of(rows, freq="h"), input_size=96, horizon=horizon, split="ett")
        assert (len(data.windows("train")), len(data.windows("test"))) == (train, test)
        assert len(data.windows("val")) == test
    assert share_borders(np.array([7588]), (0.7, 0.1, 0.2)) == (5311, 6071, 7588)  # exchange: 1422 test windows of 96
    assert ett_borders(np.array([69680]), "15min") == (34560, 46080, 57600)


def test_scaler_sees_training_rows_only():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(100, 2))
    before = data_of(table_of(values)).scaler
    np.testing.assert_allclose(before.mean[0], values[:70].mean(0))
    np.testing.assert_allclose(before.std[0], values[:70].std(0))
    values[70:] += 1e6
    np.testing.assert_array_equal(before.mean, data_of(table_of(values)).scaler.mean)


def test_constant_series_is_no_trouble():
    x, y = data_of(table_of(np.full((60, 1), 7.0))).windows("test")[0][:2]
    assert x.abs().max() == y.abs().max() == 0


def test_loaders_drop_nothing_and_training_is_shuffled():
    data = data_of(table_of(np.random.randn(100, 2)), batch_size=7)
    for part in ("train", "val", "test"):
        assert sum(len(batch.x) for batch in getattr(data, f"{part}_dataloader")()) == len(data.windows(part))
    batch = next(iter(data.test_dataloader()))
    torch.testing.assert_close((batch.x[0], batch.y[0]), data.windows("test")[0][:2])
    assert not torch.equal(next(iter(data.train_dataloader())).x, data.windows("train").__getitems__(range(7)).x)


def test_an_epoch_can_be_a_sample_of_the_windows():
    data = data_of(table_of(np.random.randn(200, 1)), batch_size=8, max_windows=20)
    assert sum(len(batch.x) for batch in data.train_dataloader()) == 20
    assert sum(len(batch.x) for batch in data.val_dataloader()) == len(data.windows("val"))


def test_a_gap_is_no_target_and_is_filled_by_what_came_before():
    values = counting(60, 1)
    values[20:23] = np.nan
    data = data_of(table_of(values), input_size=5, horizon=3, split=(0.8, 0.1, 0.1))
    windows = data.windows("train")
    everything = windows.__getitems__(range(len(windows)))
    rows = np.arange(5, 5 + len(windows))[:, None] + np.arange(3)
    np.testing.assert_array_equal(everything.y[..., 0].isnan().numpy(), (rows >= 20) & (rows < 23))
    assert not everything.x.isnan().any()
    x = data.scaler.unscale(windows.at(np.array([0]), np.array([23])).x)[0, :, 0]
    assert x.round().tolist() == [18, 19, 19, 19, 19]


def test_a_series_that_starts_late_does_not_see_its_own_first_value():
    """Before it there is nothing to see, so its first horizon of values is no target."""
    values = counting(60, 2)
    values[:25, 1] = np.nan
    windows = data_of(table_of(values), input_size=5, horizon=3).windows("train")
    y = windows.__getitems__(range(len(windows))).y
    rows = np.arange(5, 5 + len(windows))[:, None] + np.arange(3)
    np.testing.assert_array_equal(y[..., 1].isnan().numpy(), rows < 25 + 3)
    assert not y[..., 0].isnan().any()


def test_groups_never_run_into_each_other():
    first, second, third = counting(50, 1), 5000 + counting(70, 1), 90_000 + counting(18, 1)
    data = data_of(table_of(first, second, third), split=(0.6, 0.2, 0.2), input_size=6, horizon=3)
    for part in ("train", "val", "test"):
        windows = data.windows(part)
        batch = windows.__getitems__(range(len(windows)))
        group, row = windows.origins(range(len(windows)))
        both = np.concatenate([data.scaler.unscale(p, group) for p in (batch.x, batch.y)], axis=1)[..., 0]
        base = np.array([0, 5000, 90_000])[group]
        wanted = base[:, None] + np.maximum(0, row[:, None] + np.arange(-6, 3))
        np.testing.assert_allclose(both, wanted, atol=0.05)
    assert {0, 1, 2} == set(group)  # the short one, too, is judged


def test_each_group_has_its_own_scale_and_what_is_known_ahead_has_one():
    groups = [np.c_[counting(40, 1) * scale, counting(40, 1) + shift] for scale, shift in ((1, 0), (100, 20))]
    table = table_of(*groups, names=["sold", "price"], future=("price",), ahead=np.zeros((2, 4, 1)))
    scaler = Scaler.fit(table, np.array([30, 30]))
    assert scaler.std[1, 0] == pytest.approx(100 * scaler.std[0, 0])
    assert scaler.mean[0, 1] == scaler.mean[1, 1] == pytest.approx(14.5 + 10)


def test_covariates_reach_the_windows():
    rows = 40
    columns = np.c_[counting(rows, 1), 2 * np.arange(rows), 3 * np.arange(rows)]
    ahead = 3.0 * np.arange(rows, rows + 4)[None, :, None]
    static = pd.DataFrame({"size": [1.0]})
    table = table_of(
        columns, names=["sold", "visits", "price"], past=("visits",), future=("price",), ahead=ahead, static=static
    )
    data = data_of(table, input_size=6, horizon=4)
    assert (data.num_past, data.num_future, data.num_static) == (1, 1, 1)
    batch = data.windows("test").at(np.array([0]), np.array([rows]))  # the real future
    price = batch.future[0, :, 0].double().numpy() * data.scaler.std[0, 2] + data.scaler.mean[0, 2]
    np.testing.assert_allclose(price, 3 * np.arange(rows - 6, rows + 4), atol=1e-3)
    visits = batch.past[0, :, 0].double().numpy() * data.scaler.std[0, 1] + data.scaler.mean[0, 1]
    np.testing.assert_allclose(visits, 2 * np.arange(rows - 6, rows), atol=1e-3)
    assert batch.static.tolist() == [[0.0]]
    with pytest.raises(UserError, match=r"'price'[\s\S]*expected: 5 rows"):
        require_ahead(table, 5)


def test_ten_thousand_groups_are_laid_out_without_a_copy_each():
    table = table_of(*[np.full((30, 1), float(i)) for i in range(2000)])
    scaler = Scaler.fit(table, table.lengths)
    panel = Panel.build(table, scaler, horizon=5, padding=np.zeros(2000, dtype=int))
    assert panel.filled.shape == (2000 * 35, 1)
    ones = np.ones(2000, dtype=int)
    windows = Windows(panel, input_size=10, horizon=5, first=20 * ones, counts=5 * ones, step=2)
    assert len(windows) == 10_000
    group, row = windows.origins([0, 4, 5, 9_999])
    assert (group.tolist(), row.tolist()) == ([0, 0, 1, 1999], [20, 28, 20, 28])


def test_facts_carry_what_a_forecast_needs(sales_csv):
    facts = SeriesTable(sales_csv, input_size=14, horizon=7).facts()
    assert facts["columns"] == ["sold", "visits"]
    assert set(facts["scaler"]["visits"]) == {"mean", "std"}
    assert (facts["frequency"], facts["past"], facts["static"]) == ("D", [], None)
    assert (facts["input_size"], facts["horizon"]) == (14, 7)


def test_too_short_table_says_how_many_rows_it_takes(sales_csv):
    with pytest.raises(UserError, match=r"train part[\s\S]*input_size 150 \+ horizon 7[\s\S]*160 rows in all, 112"):
        SeriesTable(sales_csv, input_size=150, horizon=7)
    with pytest.raises(UserError, match="hourly or 15-minute"):
        SeriesTable(sales_csv, input_size=14, horizon=7, split="ett")
    with pytest.raises(UserError, match="add up to 1"):
        SeriesTable(sales_csv, input_size=14, horizon=7, split=(0.7, 0.2, 0.2))
    with pytest.raises(UserError, match="positive"):
        SeriesTable(sales_csv, input_size=0, horizon=7)
    with pytest.raises(UserError, match="no CSV given"):
        SeriesTable("", input_size=14, horizon=7)


def test_borders_may_be_given():
    ends = np.array([40]), np.array([50]), np.array([60])
    data = data_of(table_of(counting(60)), split=Borders(*ends))
    assert [len(data.windows(part)) for part in ("train", "val", "test")] == [27, 7, 7]
