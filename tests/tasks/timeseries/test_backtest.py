"""What is held out, what is counted, what is chosen, and what is said about it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from gated.errors import UserError
from tasks.timeseries.backtest import Backtest, backtest
from tasks.timeseries.data import Borders
from tasks.timeseries.methods import Linear, Mean, Origins, SeasonalNaive, simple_methods
from tasks.timeseries.metrics import errors
from tasks.timeseries.plan import plan
from tasks.timeseries.table import Layout, Table

HORIZON = 4


def table_of(*groups: np.ndarray, ids: tuple[str, ...] | None = None) -> Table:
    """A daily table with a group for each array ``[T, N]``."""
    dates = [pd.date_range("2024-01-01", periods=len(group), freq="D") for group in groups]
    values = np.concatenate(groups).astype(np.float64)
    names = [f"s{index}" for index in range(values.shape[1])]
    return Table(
        pd.DataFrame(values, index=dates[0].append(dates[1:]), columns=names),
        "D",
        Layout(None, None),  # type: ignore[arg-type]
        ids=ids or tuple(f"g{index}" for index in range(len(groups))),
        offsets=np.append(0, np.cumsum([len(group) for group in groups])),
    )


def weekly(*lengths: int, seed: int = 0) -> Table:
    random = np.random.default_rng(seed)
    return table_of(
        *(
            10 + 3 * np.sin(2 * np.pi * np.arange(rows)[:, None] / 7) + random.normal(size=(rows, 2)) * [0.3, 0.1]
            for rows in lengths
        )
    )


class Says:
    """Forecasts a constant; remembers what it was allowed to be fitted on."""

    def __init__(self, name: str, value: float) -> None:
        self.name, self.value, self.fits = name, value, 0

    def fit(self, table: Table, horizon: int, train: np.ndarray) -> None:
        self.fits += 1

    def predict(self, table: Table, horizon: int, origins: Origins) -> np.ndarray:
        return np.full((len(origins.row), horizon, len(table.columns)), self.value)


@pytest.mark.parametrize("lengths", [(200,), (12, 13, 40, 100), (5000, 11, 300)])
@pytest.mark.parametrize("max_origins", [1, 7, 1000])
def test_the_parts_come_in_order_of_time_and_no_target_is_shared(lengths: tuple[int, ...], max_origins: int):
    table = weekly(*lengths)
    held = plan(table, HORIZON, max_origins=max_origins)
    for origins, start, stop in (
        (held.val, held.borders.train, held.borders.val),
        (held.test, held.borders.val, held.borders.test),
    ):
        assert (origins.row >= start[origins.group]).all()
        assert (origins.row + HORIZON <= stop[origins.group]).all()
        judged = np.unique(origins.group)
        assert judged.tolist() == [group for group, rows in enumerate(lengths) if rows >= 3 * HORIZON]
        for group in judged:
            rows = origins.row[origins.group == group]
            assert rows[-1] == stop[group] - HORIZON
            assert (np.diff(rows) > 0).all()
        assert len(origins.row) <= max(max_origins, len(judged))
    assert (held.borders.test == lengths).all()


def test_forecasts_begin_in_every_phase_of_the_season():
    held = plan(weekly(7000), HORIZON, max_origins=100)
    step = np.diff(held.test.row)
    assert len(set(step)) == 1
    assert set(held.test.row % 7) == set(range(7))


def test_a_table_that_is_too_short_is_told_how_many_rows_it_takes():
    with pytest.raises(UserError, match=r"at least 12 rows(.|\n)*11 rows in the longest"):
        plan(weekly(11, 7), HORIZON)
    with pytest.raises(UserError, match="horizon must be positive"):
        plan(weekly(40), 0)


def test_errors_by_hand():
    values = np.array([[0.0], [2.0], [0.0], [2.0], [1.0], [np.nan], [5.0]])
    table = dataclasses.replace(table_of(values), frequency=1)
    truth = np.array([[[1.0], [np.nan], [5.0]]])
    forecast = np.array([[[2.0], [100.0], [5.0]]])
    found = errors(table, Origins(np.array([0]), np.array([4])), forecast, truth, np.array([4]), np.array([4]))
    # deviation 1, mean absolute change 2
    assert found.iloc[0].to_dict() == {"MSE": 0.5, "MAE": 0.5, "MASE": 0.25, "sMAPE": pytest.approx(100 / 3)}


def test_what_is_missing_counts_nowhere_and_zero_beside_zero_is_no_error():
    table = table_of(np.zeros((20, 1)), np.full((20, 1), np.nan))
    origins = Origins(np.array([0, 1]), np.array([10, 10]))
    truth = np.stack([np.zeros((3, 1)), np.full((3, 1), np.nan)])
    found = errors(table, origins, np.zeros((2, 3, 1)), truth, np.array([10, 10]), np.array([10, 10]))
    assert found.loc[0, ["MSE", "MAE", "sMAPE"]].tolist() == [0, 0, 0]
    assert np.isnan(found.loc[0, "MASE"])  # it never changed
    assert found.loc[1].isna().all()


def test_every_series_counts_alike_whatever_its_unit_and_number_of_forecasts():
    table = weekly(400, 60)
    far = dataclasses.replace(table, values=table.values * [1e6, 1])
    methods = simple_methods(table)
    boards = [backtest(one, HORIZON, methods).leaderboard() for one in (table, far)]
    pd.testing.assert_frame_equal(*(board.drop(columns="sMAPE", level=1) for board in boards), rtol=1e-4)
    result = backtest(table, HORIZON, methods)
    by_series = result.errors("test", "linear")
    assert len(by_series) == 4
    assert result.leaderboard().loc["linear", ("test", "MAE")] == pytest.approx(by_series["MAE"].mean())


def test_a_series_without_a_single_target_does_not_hide_the_others():
    table = weekly(60, 60)
    values = table.values.copy()
    values.iloc[80:, 0] = np.nan
    board = backtest(dataclasses.replace(table, values=values), HORIZON, simple_methods(table)).leaderboard()
    assert board.notna().all(axis=None)


def test_validation_alone_decides():
    """A method that is right on the validation rows and wrong on the test rows is chosen, and the sentence says so."""
    table = table_of(np.concatenate([np.tile([0.0, 1.0], 40), np.zeros(20), np.full(20, 9.0)])[:, None])
    borders = Borders(np.array([80]), np.array([100]), np.array([120]))
    methods = [Says("nine", 9.0), Says("zero", 0.0)]
    result = backtest(table, HORIZON, methods, plan=plan(table, HORIZON, borders=borders))
    assert result.choice == "zero"
    assert result.leaderboard().index.tolist() == ["zero", "nine"]
    said = "zero won on validation; on the test rows its MAE is 18.0000, and that of nine is lower: 0.0000."
    assert result.verdict() == said
    changed = table.values.copy()
    changed.iloc[100:] = -5.0
    other = backtest(dataclasses.replace(table, values=changed), HORIZON, methods, plan=result.plan)
    assert other.choice == "zero"


def test_the_choice_by_another_metric():
    table = weekly(120)
    result = backtest(table, HORIZON, simple_methods(table), metric="MASE")
    assert result.choice == result.leaderboard()[("val", "MASE")].idxmin()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (1.0, "Gateformer won on validation; on the test rows its MAE is 1.0000, the lowest; next is two (2.0000)."),
        (9.0, "two won on validation; on the test rows its MAE is 2.0000, the lowest; Gateformer has more (9.0000)."),
        (
            2.00001,
            "two won on validation; on the test rows its MAE is 2.0000, that of Gateformer the same to four places.",
        ),
    ],
)
def test_the_verdict_on_the_model(model: float, said: str):
    noise = np.tile([-1.0, 1.0], 60)[:, None]
    result = backtest(table_of(noise), HORIZON, [Says("two", 2.0), Says("Gateformer", model)])
    assert result.verdict() == said


def test_members_of_a_mean_are_fitted_once_and_their_forecasts_averaged():
    table, one, two = weekly(100), Says("one", 1.0), Says("two", 2.0)
    result = backtest(table, HORIZON, [one, two, Mean([one, two])])
    assert one.fits == two.fits == 1
    assert np.unique(result.forecasts["test"]["mean of one and two"]).tolist() == [1.5]
    alone = backtest(table, HORIZON, [Mean([one, two])])
    np.testing.assert_array_equal(
        alone.forecasts["val"]["mean of one and two"], result.forecasts["val"]["mean of one and two"]
    )


@pytest.mark.parametrize("gaps", [False, True])
def test_nothing_held_out_reaches_the_methods(gaps: bool):
    """Change the test rows: validation stays as it is. Change the rows after an origin: its forecast stays."""
    table = weekly(90, 50)
    values = table.values.copy()
    if gaps:
        values = values.mask(np.random.default_rng(1).random(values.shape) < 0.2)
    table = dataclasses.replace(table, values=values)
    before = backtest(table, HORIZON, simple_methods(table))
    changed = values.to_numpy(copy=True)
    for group in (0, 1):
        changed[table.offsets[group] + before.plan.borders.val[group] : table.offsets[group + 1]] = 1e5
    after = backtest(
        dataclasses.replace(table, values=pd.DataFrame(changed, values.index, values.columns)),
        HORIZON,
        simple_methods(table),
    )
    pd.testing.assert_frame_equal(before.leaderboard()["val"], after.leaderboard()["val"])
    first = np.r_[True, np.diff(before.plan.test.group) > 0]
    for name, ahead in before.forecasts["test"].items():
        np.testing.assert_array_equal(ahead[first], after.forecasts["test"][name][first])


def test_the_long_frame_is_that_of_neuralforecast():
    table = weekly(60, 40)
    result = backtest(table, HORIZON, [SeasonalNaive(1), Linear(8)])
    frame = result.to_frame()
    assert frame.columns.tolist() == ["unique_id", "ds", "cutoff", "y", "repeat-last", "linear"]
    assert len(frame) == result.truth["test"].size
    assert set(frame["unique_id"]) == {"g0/s0", "g0/s1", "g1/s0", "g1/s1"}
    row = frame[(frame["unique_id"] == "g1/s1")].iloc[-1]
    known = table.group(1)["s1"]
    assert row["y"] == known.loc[row["ds"]]
    assert row["repeat-last"] == known.loc[row["cutoff"]]
    assert (frame["ds"] - frame["cutoff"]).dt.days.isin(range(1, HORIZON + 1)).all()


def test_names_of_series_are_no_longer_than_needed():
    wide = table_of(np.random.default_rng(0).normal(size=(40, 2)), ids=("",))
    assert set(_frame_of(wide)["unique_id"]) == {"s0", "s1"}
    lone = table_of(*np.random.default_rng(0).normal(size=(2, 40, 1)), ids=("a", "b"))
    assert set(_frame_of(lone)["unique_id"]) == {"a", "b"}


def _frame_of(table: Table) -> pd.DataFrame:
    result: Backtest = backtest(table, HORIZON, [SeasonalNaive(1)])
    return result.to_frame("val")
