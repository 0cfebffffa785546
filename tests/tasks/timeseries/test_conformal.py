"""Intervals hold what they promise, know nothing of the future, and follow errors that drift."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from tasks.timeseries.adaptive import WINDOW, adaptive_radius, rank_of
from tasks.timeseries.backtest import Backtest, backtest
from tasks.timeseries.conformal import ENOUGH, Intervals
from tasks.timeseries.data import Borders
from tasks.timeseries.methods import Linear, Origins, SeasonalNaive
from tasks.timeseries.plan import plan
from tasks.timeseries.table import Layout, Table

HORIZON = 3
LEVEL = np.array([0.8, 0.9])


def table_of(*groups: np.ndarray) -> Table:
    dates = [pd.date_range("2024-01-01", periods=len(group), freq="D") for group in groups]
    values = np.concatenate(groups).astype(np.float64)
    return Table(
        pd.DataFrame(values, index=dates[0].append(dates[1:]), columns=[f"s{i}" for i in range(values.shape[1])]),
        "D",
        Layout(None, None),  # type: ignore[arg-type]
        ids=tuple(f"g{index}" for index in range(len(groups))),
        offsets=np.append(0, np.cumsum([len(group) for group in groups])),
    )


def walk(rows: int, seed: int = 0, growth: float = 1.0) -> np.ndarray:
    """A random walk of two series whose steps end ``growth`` times as large as they began."""
    steps = np.random.default_rng(seed).normal(size=(rows, 2)) * np.geomspace(1, growth, rows)[:, None]
    return np.cumsum(steps, axis=0)


def one_long(growth: float = 1.0) -> Backtest:
    table = table_of(walk(2500, growth=growth))
    borders = Borders(np.array([500]), np.array([1500]), np.array([2500]))
    return backtest(table, HORIZON, [SeasonalNaive(1)], plan=plan(table, HORIZON, borders=borders))


def many_short(groups: int = 300) -> Backtest:
    table = table_of(*(10.0 ** (seed % 5) * walk(40, seed) for seed in range(groups)))
    return backtest(table, HORIZON, [SeasonalNaive(1)])


def test_rank_of_the_conformal_quantile():
    assert rank_of(np.array(0.9), np.array(9)) == 9
    assert rank_of(np.array(0.9), np.array(19)) == 18
    assert rank_of(np.array(0.9), np.array(5)) == 5  # not even the largest will do: it stands in
    assert rank_of(np.array([0.8, 0.95]), np.array(99)).tolist() == [80, 95]


@pytest.mark.parametrize("growth", [1.0, 8.0, 0.1])
def test_a_long_table_is_covered_as_promised_even_when_errors_drift(growth: float):
    intervals = Intervals.of(one_long(growth), "repeat-last", (80, 90))
    for level, share in intervals.coverage().items():
        assert share == pytest.approx(level / 100, abs=0.02)


def test_without_adapting_the_drift_would_be_missed():
    """So that the test above can fail: one quantile of the validation errors covers far less."""
    result = one_long(8.0)
    error = {part: np.abs(result.truth[part] - result.forecasts[part]["repeat-last"]) for part in ("val", "test")}
    assert (error["test"] <= np.quantile(error["val"], 0.9, axis=0)).mean() < 0.8


def test_many_short_series_lend_each_other_their_errors_whatever_their_units():
    intervals = Intervals.of(many_short(), "repeat-last", (80, 90))
    assert intervals.coverage()[90] == pytest.approx(0.9, abs=0.03)
    assert intervals.coverage()[80] == pytest.approx(0.8, abs=0.03)
    width = np.median(intervals.ahead[1, :, 0, 0].reshape(-1, 5), axis=0)
    np.testing.assert_allclose(np.log10(width), np.arange(5), atol=0.7)


def test_intervals_widen_with_the_level_and_the_step():
    for result in (one_long(), many_short()):
        ahead = Intervals.of(result, "repeat-last", (95, 50, 80)).ahead
        assert (np.diff(ahead, axis=0) >= 0).all()
        assert (np.diff(np.nanmean(ahead, axis=(0, 1, 3))) > 0).all()


def test_the_ends_lie_around_the_forecast():
    result = one_long()
    intervals = Intervals.of(result, "repeat-last")
    origins = Origins.at_the_end(result.table)
    ahead = result.methods["repeat-last"].predict(result.table, HORIZON, origins)
    low, high = intervals.around(ahead, origins)
    assert low.shape == high.shape == (1, 1, HORIZON, 2)
    np.testing.assert_allclose((low + high) / 2, ahead[None])
    assert (low < high).all()


def test_a_half_width_knows_only_errors_whose_row_has_passed():
    """Change the truth from one row on: no interval of an origin up to that row may notice."""
    random = np.random.default_rng(0)
    score, row = np.abs(random.normal(size=(200, HORIZON, 2))), np.arange(200)
    before = adaptive_radius(score, row, LEVEL)
    changed_row = 150
    later = row[:, None] + np.arange(HORIZON) >= changed_row
    after = adaptive_radius(np.where(later[..., None], 50.0, score), row, LEVEL)
    np.testing.assert_array_equal(before[:, : changed_row + 1], after[:, : changed_row + 1])
    assert (after[:, changed_row + 5] > before[:, changed_row + 5]).any()


@pytest.mark.parametrize("make", [one_long, many_short])
def test_test_rows_do_not_reach_the_intervals_of_the_first_test_forecasts(make):
    result = make()
    held = result.plan.test
    first = np.r_[True, np.diff(held.group) > 0]
    truth = dict(result.truth) | {"test": result.truth["test"] + 1e6}
    before, after = (
        Intervals.of(one, "repeat-last").radius["test"][:, first]
        for one in (result, dataclasses.replace(result, truth=truth))
    )
    np.testing.assert_array_equal(before, after)


def test_only_the_latest_errors_count():
    score = np.concatenate([np.full((WINDOW, 1, 1), 100.0), np.ones((WINDOW, 1, 1))])
    radius = adaptive_radius(score, np.arange(len(score)), LEVEL)
    np.testing.assert_array_equal(radius[:, WINDOW], 100.0)
    np.testing.assert_array_equal(radius[:, -1], 1.0)


def test_missing_truth_is_no_score():
    random = np.random.default_rng(0)
    score = np.abs(random.normal(size=(300, HORIZON, 1)))
    score[random.random(score.shape) < 0.3] = np.nan
    radius = adaptive_radius(score, np.arange(300), LEVEL)
    assert np.isfinite(radius[:, 60:]).all()
    inside = score[60:] <= radius[1, 60:-1]
    assert inside[~np.isnan(score[60:])].mean() == pytest.approx(0.9, abs=0.04)


def test_a_handful_of_held_out_forecasts_still_gives_an_interval():
    table = table_of(walk(40))
    result = backtest(table, 8, [SeasonalNaive(1), Linear(8)])
    assert len(result.plan.val.row) < ENOUGH
    for name in result.methods:
        intervals = Intervals.of(result, name, (80, 90))
        assert np.isfinite(intervals.ahead).all()
        assert 0.0 <= intervals.coverage()[90] <= 1.0


def test_a_series_that_never_changed_has_an_interval_without_width():
    table = table_of(np.column_stack([np.full(60, 5.0), walk(60)[:, 0]]))
    intervals = Intervals.of(backtest(table, HORIZON, [SeasonalNaive(1)]), "repeat-last")
    assert (intervals.ahead[..., 0] == 0).all()
    assert (intervals.ahead[..., 1] > 0).all()


def test_a_series_that_repeats_itself_exactly_has_intervals_around_other_forecasts():
    """Its seasonal change is nothing, by which errors can't be divided."""
    weekly = np.tile(np.arange(7.0), 9)[:60, None]
    intervals = Intervals.of(backtest(table_of(weekly), HORIZON, [SeasonalNaive(1)]), "repeat-last", (90,))
    assert np.isfinite(intervals.ahead).all()
    assert (intervals.ahead > 0).all()
    assert intervals.coverage()[90] > 0.7


def test_long_and_short_groups_live_side_by_side():
    table = table_of(walk(1200), walk(15, seed=1), walk(5, seed=2))
    intervals = Intervals.of(backtest(table, HORIZON, [SeasonalNaive(1)]), "repeat-last")
    assert intervals.ahead.shape == (1, 3, HORIZON, 2)
    assert np.isfinite(intervals.ahead).all()
    assert np.isfinite(intervals.radius["test"]).all()
