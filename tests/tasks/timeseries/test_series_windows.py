from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from gated.errors import UserError
from tasks.timeseries.baselines import LinearMap, SeasonalNaive, evaluate
from tasks.timeseries.data import SeriesTable, TableWindows, ett_borders, share_borders
from tasks.timeseries.table import from_frame
from tasks.timeseries.windows import Windows


def counting(rows: int = 50, series: int = 2) -> torch.Tensor:
    """Values that tell their own row and column."""
    return torch.arange(rows)[:, None] + 1000.0 * torch.arange(series)


def table_of(values: np.ndarray, freq: str = "D"):
    dates = pd.date_range("2020-01-01", periods=len(values), freq=freq, name="date")
    return from_frame(pd.DataFrame(values, index=dates, columns=[f"s{i}" for i in range(values.shape[1])]))


def test_windows_are_views_of_the_table():
    values = counting()
    windows = Windows(values, input_size=5, horizon=3)
    assert len(windows) == 50 - 5 - 3 + 1
    x, y = windows[7]
    assert x[:, 1].tolist() == [1007, 1008, 1009, 1010, 1011]
    assert y[:, 0].tolist() == [12, 13, 14]
    values[7, 0] = -1.0
    assert x[0, 0] == -1.0
    assert windows.view.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()


def test_batches_equal_single_windows():
    windows = Windows(torch.randn(40, 3), input_size=6, horizon=2)
    x, y = windows.__getitems__([3, 0, 31])
    for place, index in enumerate((3, 0, 31)):
        torch.testing.assert_close((x[place], y[place]), windows[index])


def test_targets_of_the_parts_never_meet():
    data = TableWindows(table_of(counting(100).double().numpy()), input_size=10, horizon=4, split=(0.6, 0.2, 0.2))
    rows = {}
    for part in ("train", "val", "test"):
        windows = data.windows(part)
        _, y = windows.__getitems__(range(len(windows)))
        rows[part] = set(data.scaler.unscale(y.reshape(-1, 2))[:, 0].round().astype(int).tolist())
    assert rows["train"] == set(range(10, 60))  # the first ten have no past
    assert rows["val"] == set(range(60, 80))
    assert rows["test"] == set(range(80, 100))


def test_window_counts_are_those_of_the_benchmarks():
    rows = np.random.default_rng(0).normal(size=(17420, 1))
    for horizon, train, test in ((96, 8449, 2785), (192, 8353, 2689), (336, 8209, 2545), (720, 7825, 2161)):
        data = TableWindows(table_of(rows, "h"), input_size=96, horizon=horizon, split="ett")
        assert (len(data.windows("train")), len(data.windows("test"))) == (train, test)
        assert len(data.windows("val")) == test
    assert share_borders(7588, (0.7, 0.1, 0.2)) == (5311, 6071, 7588)  # exchange rate: 1422 test windows of 96
    assert ett_borders(69680, "15min") == (34560, 46080, 57600)


def test_scaler_sees_training_rows_only():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(100, 2))
    before = TableWindows(table_of(values), input_size=8, horizon=4).scaler
    np.testing.assert_allclose(before.mean, values[:70].mean(0))
    np.testing.assert_allclose(before.std, values[:70].std(0))
    values[70:] += 1e6
    after = TableWindows(table_of(values), input_size=8, horizon=4).scaler
    np.testing.assert_array_equal(before.mean, after.mean)


def test_constant_series_is_no_trouble():
    data = TableWindows(table_of(np.full((60, 1), 7.0)), input_size=8, horizon=4)
    x, y = data.windows("test")[0]
    assert x.abs().max() == y.abs().max() == 0
    assert LinearMap.fit(data.windows("train"))(x[None]).abs().max() == 0


def test_looking_back_keeps_the_targets():
    windows = Windows(torch.randn(60, 2), input_size=6, horizon=3, start=30, stop=50)
    for length in (1, 6, 24):
        other = windows.looking_back(length)
        assert other.input_size == length
        everything = range(len(windows))
        torch.testing.assert_close(other.__getitems__(everything)[1], windows.__getitems__(everything)[1])
    with pytest.raises(UserError, match="at least 31"):
        windows.looking_back(31)


def test_loaders_drop_nothing_and_training_is_shuffled():
    data = TableWindows(table_of(np.random.randn(100, 2)), input_size=8, horizon=4, batch_size=7)
    for part, loader in (
        ("train", data.train_dataloader()),
        ("val", data.val_dataloader()),
        ("test", data.test_dataloader()),
    ):
        assert sum(len(x) for x, _ in loader) == len(data.windows(part))
    x, y = next(iter(data.test_dataloader()))
    torch.testing.assert_close((x[0], y[0]), data.windows("test")[0])
    first = next(iter(data.train_dataloader()))[0]
    assert not torch.equal(first, data.windows("train").__getitems__(range(7))[0])


def test_facts_carry_what_a_forecast_needs(sales_csv):
    facts = SeriesTable(sales_csv, input_size=14, horizon=7).facts()
    assert facts["columns"] == ["sold", "visits"]
    assert set(facts["scaler"]["visits"]) == {"mean", "std"}
    assert (facts["frequency"], facts["date_format"]) == ("D", "%Y-%m-%d")
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


def test_naive_forecasts_repeat():
    x = counting(12)[None]
    assert SeasonalNaive(1, 3)(x)[0, :, 0].tolist() == [11, 11, 11]
    assert SeasonalNaive(4, 6)(x)[0, :, 1].tolist() == [1008, 1009, 1010, 1011, 1008, 1009]


def test_linear_map_finds_a_linear_law_and_ignores_the_level():
    time = torch.arange(400.0)
    values = torch.stack([torch.sin(0.3 * time), 100 + 5 * torch.cos(0.3 * time)], 1)
    linear = LinearMap.fit(Windows(values[:300], input_size=16, horizon=8))
    score = evaluate({"linear": linear}, Windows(values, input_size=16, horizon=8, start=300))["linear"]
    assert score.mse < 1e-4


def test_scores_are_plain_means_over_the_same_targets_for_any_batch_size():
    windows = Windows(torch.randn(90, 3), input_size=10, horizon=5, start=40)
    predictors = {"last": SeasonalNaive(1, 5), "seasonal": SeasonalNaive(20, 5), "linear": LinearMap.fit(windows)}
    scores = [evaluate(predictors, windows, batch_size=size) for size in (1, 7, 256)]
    for name in predictors:
        for other in scores[1:]:
            assert tuple(other[name]) == pytest.approx(tuple(scores[0][name]), rel=1e-6)
    x, y = windows.__getitems__(range(len(windows)))
    assert scores[0]["last"].mse == pytest.approx(float((x[:, -1:] - y).square().mean()), rel=1e-5)
    assert scores[0]["last"].mae == pytest.approx(float((x[:, -1:] - y).abs().mean()), rel=1e-5)


def test_dropping_the_last_batch_would_change_the_published_number():
    """The shipped influenza series: 6.2133 over all test windows, 6.5871 where a loader of 32 drops the rest."""
    data = SeriesTable("national_illness", input_size=36, horizon=24)
    windows, naive = data.windows("test"), SeasonalNaive(1, 24)
    assert len(windows) == 170
    assert evaluate({"last": naive}, windows)["last"].mse == pytest.approx(6.2133, abs=5e-5)
    x, y = windows.__getitems__(range(160))
    assert float((naive(x) - y).square().mean()) == pytest.approx(6.5871, abs=5e-5)
