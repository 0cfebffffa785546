"""What every method promises: no look ahead, gaps and short series survived, the units of the table."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from tasks.timeseries.methods import (
    Linear,
    Mean,
    Origins,
    SeasonalNaive,
    default_input_size,
    seasonal_scale,
    simple_methods,
    statistical_methods,
    truth_of,
)
from tasks.timeseries.methods.statistical import CES, AutoETS, Theta, cost
from tasks.timeseries.panel import Panel, Scaler
from tasks.timeseries.study import compare
from tasks.timeseries.table import Layout, Table
from tasks.timeseries.windows import Windows

HORIZON = 5
LENGTHS = (60, 33, 47)


def table_of(*groups: np.ndarray, frequency: str | int = "D") -> Table:
    """A table with a group for each array ``[T, N]``."""
    dates = [pd.date_range("2024-01-01", periods=len(group), freq="D") for group in groups]
    values = np.concatenate(groups).astype(np.float64)
    columns = [f"s{index}" for index in range(values.shape[1])]
    return Table(
        pd.DataFrame(values, index=dates[0].append(dates[1:]), columns=columns),
        frequency,
        Layout(None, None),  # type: ignore[arg-type]
        ids=tuple(f"g{index}" for index in range(len(groups))),
        offsets=np.append(0, np.cumsum([len(group) for group in groups])),
    )


def noisy(seed: int = 0, gaps: float = 0.0) -> Table:
    random = np.random.default_rng(seed)
    groups = []
    for length in LENGTHS:
        day = np.arange(length)[:, None]
        values = 10 + 3 * np.sin(2 * np.pi * day / 7) + random.normal(size=(length, 2)) + [0, 100]
        values[random.random(values.shape) < gaps] = np.nan
        groups.append(values)
    return table_of(*groups)


class FakeModel:
    """Stands in for a model of statsforecast: the mean of what it was given, and a refusal of short series."""

    def __init__(self, season_length: int) -> None:
        self.season_length = season_length

    def forecast(self, y: np.ndarray, h: int) -> dict[str, np.ndarray]:
        assert y.ndim == 1
        assert np.isfinite(y).all()
        if len(y) < 6:
            raise NotImplementedError("tiny datasets")
        return {"mean": np.full(h, y.mean())}


@pytest.fixture
def fake_statsforecast(monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModuleType("statsforecast.models")
    models.AutoETS = models.AutoCES = models.DynamicOptimizedTheta = FakeModel  # type: ignore[attr-defined]
    package = ModuleType("statsforecast")
    package.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "statsforecast", package)
    monkeypatch.setitem(sys.modules, "statsforecast.models", models)


def every_method() -> list:
    return [*simple_methods(noisy()), Theta(), CES(), AutoETS(), Mean([SeasonalNaive(7), Linear()])]


METHODS = pytest.mark.parametrize("number", range(len(every_method())), ids=[method.name for method in every_method()])
pytestmark = pytest.mark.usefixtures("fake_statsforecast")


def changed_from(table: Table, rows: np.ndarray) -> Table:
    """The same table with other values in every group from ``rows [G]`` on."""
    values = table.values.to_numpy(copy=True)
    for group, row in enumerate(rows):
        start, stop = table.offsets[group] + row, table.offsets[group + 1]
        values[start:stop] = 1e4 + np.arange(stop - start)[:, None] ** 2
    return dataclasses.replace(table, values=pd.DataFrame(values, table.values.index, table.values.columns))


@METHODS
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_a_forecast_does_not_see_the_rows_it_forecasts(number: int, gaps: float):
    table, method = noisy(gaps=gaps), every_method()[number]
    method.fit(table, HORIZON, np.array([30, 15, 20]))
    for group, row in ((0, 30), (0, 60), (1, 17), (1, 29), (2, 40), (2, 3)):
        origin = Origins(np.array([group]), np.array([row]))
        before = method.predict(table, HORIZON, origin)
        rows = np.full(3, 10_000)
        rows[group] = row
        np.testing.assert_array_equal(before, method.predict(changed_from(table, rows), HORIZON, origin))


@METHODS
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_fitting_does_not_see_the_rows_that_are_held_out(number: int, gaps: float):
    table, train = noisy(gaps=gaps), np.array([30, 15, 20])
    first, second = every_method()[number], every_method()[number]
    first.fit(table, HORIZON, train)
    second.fit(changed_from(table, train), HORIZON, train)
    ahead = Origins.at_the_end(table)
    np.testing.assert_array_equal(first.predict(table, HORIZON, ahead), second.predict(table, HORIZON, ahead))


@METHODS
def test_a_forecast_stands_in_the_units_of_the_table_and_moves_with_it(number: int):
    table, train = noisy(), np.array([50, 25, 40])
    far = dataclasses.replace(table, values=table.values * 1000 - 7)
    ahead = []
    for one in (table, far):
        method = every_method()[number]
        method.fit(one, HORIZON, train)
        ahead.append(method.predict(one, HORIZON, Origins.at_the_end(one)))
    assert ahead[0].shape == (3, HORIZON, 2)
    np.testing.assert_allclose(ahead[1], ahead[0] * 1000 - 7, rtol=1e-4)


@METHODS
def test_an_origin_alone_gets_what_it_gets_among_others(number: int):
    table, method = noisy(gaps=0.2), every_method()[number]
    method.fit(table, HORIZON, np.array([30, 15, 20]))
    origins = Origins(np.array([2, 0, 1, 0]), np.array([31, 60, 20, 44]))
    together = method.predict(table, HORIZON, origins)
    for index in range(4):
        alone = method.predict(table, HORIZON, origins.chosen(slice(index, index + 1)))
        np.testing.assert_allclose(alone[0], together[index], rtol=1e-12)


@METHODS
def test_a_series_of_one_value_repeats_it_and_one_without_any_has_no_forecast(number: int):
    random = np.random.default_rng(0)
    short, empty = np.array([[3.0]]), np.full((4, 1), np.nan)
    table, method = table_of(random.normal(size=(50, 1)), short, empty), every_method()[number]
    method.fit(table, HORIZON, np.array([40, 1, 4]))
    ahead = method.predict(table, HORIZON, Origins.at_the_end(table))
    assert np.isfinite(ahead[0]).all()
    np.testing.assert_allclose(ahead[1], 3.0)
    assert np.isnan(ahead[2]).all()


def test_naive_methods_by_hand():
    table = table_of(np.array([[1.0], [2.0], [3.0], [4.0], [np.nan], [6.0], [7.0]]))
    origin = Origins(np.array([0, 0]), np.array([7, 5]))
    last = SeasonalNaive(1).predict(table, 4, origin)
    assert last[..., 0].tolist() == [[7, 7, 7, 7], [4, 4, 4, 4]]
    season = SeasonalNaive(3).predict(table, 4, origin)
    # the gap at row 4 takes row 1, a season before it
    assert season[..., 0].tolist() == [[2, 6, 7, 2], [3, 4, 2, 3]]
    long = SeasonalNaive(6).predict(table, 2, Origins(np.array([0]), np.array([4])))
    assert long[0, :, 0].tolist() == [4, 4]  # no season yet: the last value


def test_the_linear_map_finds_a_linear_law():
    values = np.zeros((120, 1))
    values[:2, 0] = 1.0, 0.5
    for row in range(2, 120):
        values[row] = 2 * np.cos(0.3) * values[row - 1] - values[row - 2]  # a pure sine: two values tell the rest
    table, method = table_of(values + 5), Linear(input_size=24)
    method.fit(table, HORIZON, np.array([80]))
    origins = Origins(np.zeros(20, dtype=int), np.arange(90, 110))
    np.testing.assert_allclose(method.predict(table, HORIZON, origins), truth_of(table, origins, HORIZON), atol=1e-4)


def test_missing_targets_leave_the_equations_of_their_step_alone():
    """Against least squares written out step by step over the very windows that are complete for that step."""
    table, length, train = noisy(gaps=0.15), 8, np.array([60, 33, 47])
    method = Linear(length)
    method.fit(table, HORIZON, train)
    scaler = Scaler.fit(table, train)
    panel = Panel.build(table, scaler, horizon=HORIZON, padding=np.full(3, length - 1))
    windows = Windows(panel, input_size=length, horizon=HORIZON, first=np.ones(3, dtype=int), counts=train - HORIZON)
    x, y, *_ = windows.__getitems__(range(len(windows)))
    x, y = (part.double().transpose(1, 2).reshape(-1, size) for part, size in ((x, length), (y, HORIZON)))
    mean = x.mean(dim=1, keepdim=True)
    x, y = x - mean, y - mean
    for step in range(HORIZON):
        there = ~y[:, step].isnan()
        assert 0 < there.sum() < len(there)
        expected = torch.linalg.lstsq(x[there], y[there, step, None], driver="gelsd").solution
        fitted = x[there] @ torch.from_numpy(method.weight_LH[:, step])
        np.testing.assert_allclose(fitted, (x[there] @ expected)[:, 0], atol=1e-3)


def test_the_linear_map_without_a_training_window_is_the_mean_of_the_past():
    table, method = table_of(np.arange(12.0)[:, None]), Linear()
    method.fit(table, HORIZON, np.array([3]))
    np.testing.assert_allclose(method.predict(table, HORIZON, Origins.at_the_end(table)), np.arange(4.0, 12.0).mean())


def test_a_gap_in_the_future_of_a_window_is_not_learnt_as_a_value():
    """A series that is either 1 or missing: whatever stands in for the gaps, the forecast stays 1."""
    values = np.ones((100, 1))
    values[::3] = np.nan
    table, method = table_of(values), Linear(8)
    method.fit(table, HORIZON, np.array([100]))
    np.testing.assert_allclose(method.predict(table, HORIZON, Origins.at_the_end(table)), 1.0)


def test_truth_is_masked_where_missing_unborn_or_still_to_come():
    values = np.array([[np.nan], [np.nan], [2.0], [3.0], [np.nan], [5.0]])
    truth = truth_of(table_of(values), Origins(np.zeros(3, dtype=int), np.array([2, 3, 5])), 3)[..., 0]
    np.testing.assert_array_equal(truth, [[np.nan] * 3, [3, np.nan, 5], [5, np.nan, np.nan]])


def test_the_scale_of_mase_by_hand():
    ramp, still = np.arange(8.0)[:, None] ** 2, np.full((5, 1), 4.0)
    scale = seasonal_scale(table_of(ramp, still, np.array([[1.0]])), np.array([6, 5, 1]), season=2)
    assert scale[0, 0] == np.mean([4 - 0, 9 - 1, 16 - 4, 25 - 9])
    assert np.isnan(scale[1:]).all()
    short = seasonal_scale(table_of(ramp), np.array([3]), season=4)
    assert short[0, 0] == np.mean([1, 3])  # no two values a season apart: row to row


def test_the_look_back_follows_season_and_horizon_and_fits_the_rows():
    table = table_of(np.zeros((400, 1)))
    assert default_input_size(table, 14, np.array([400])) == 32
    assert default_input_size(table, 60, np.array([400])) == 120
    assert default_input_size(table, 14, np.array([40])) < 40 - 14


def test_a_refused_series_repeats_its_last_value():
    table = table_of(np.array([[1.0], [2.0], [9.0], [np.nan], [4.0]]))
    np.testing.assert_array_equal(Theta().predict(table, 2, Origins.at_the_end(table)), np.full((1, 2, 1), 4.0))


def test_without_statsforecast_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    methods, notes = statistical_methods()
    assert methods == []
    assert "pip install 'gated[stats]'" in notes[0]


def test_cost_counts_the_values_that_are_read():
    table = noisy()
    assert cost(table, Origins(np.array([0, 1]), np.array([60, 20]))) == 160


def short_series(groups: int) -> Table:
    return table_of(*(np.random.default_rng(0).normal(size=(60, 1)) for _ in range(groups)))


@pytest.mark.parametrize(("groups", "tried"), [(2, ["Theta", "CES", "AutoETS"]), (40, ["Theta", "CES"]), (400, [])])
def test_what_would_take_too_long_is_not_tried_and_said_so(
    groups: int, tried: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("tasks.timeseries.study._WANTED_FITTED", 1000)
    monkeypatch.setattr("tasks.timeseries.study._MOST_FITTED", 3000)
    monkeypatch.setattr("tasks.timeseries.study.trainable", lambda *args: False)
    result = compare(short_series(groups), 3).backtest
    assert [name for name in result.methods if name in ("Theta", "CES", "AutoETS")] == tried
    left_out = [name for name in ("Theta", "CES", "AutoETS") if name not in tried]
    assert all(name in " ".join(result.notes) for name in left_out)
    assert ("to save time" in " ".join(result.notes)) == bool(left_out)


def test_a_mean_leaves_its_members_as_they_were_fitted():
    table, member = noisy(), Linear()
    member.fit(table, 3, table.lengths // 2)
    before = member.weight_LH
    Mean([member, SeasonalNaive(1)]).fit(table, 3, table.lengths)
    assert member.weight_LH is before


def test_intervals_take_errors_from_more_origins_than_a_comparison_can(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("tasks.timeseries.study._WANTED_FITTED", 5000)
    monkeypatch.setattr("tasks.timeseries.study.trainable", lambda *args: False)
    table = table_of(np.random.default_rng(0).normal(size=(900, 1)))
    study = compare(table, 3, model="linear")
    few, many = study.backtest.plan.test.row, study.errors.plan.test.row
    assert len(few) < len(many)
    shared = np.isin(many, few)
    np.testing.assert_array_equal(
        study.errors.forecasts["test"]["linear"][shared], study.backtest.forecasts["test"]["linear"]
    )
    assert compare(table, 3, model="AutoETS").errors.plan.test.row.tolist() == few.tolist()
