"""The forecaster for sktime: sktime's own checks, and the same numbers as `gated.forecast`."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sktime.utils.estimator_checks import check_estimator

import gated
from gated.errors import UserError
from tasks.timeseries.sktime import GateformerForecaster

TINY = {"input_size": 14, "d_model": 8, "d_ff": 8, "epochs": 2, "steps": 10}
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")  # of sktime itself, on pandas 3 and without skpro
    for text in (".*requires skpro", "PeriodIndex.is_full", "Sorting by default when concatenating")
]
QUICK = (
    *("test_constructor", "test_get_params", "test_clone", "test_set_params_sklearn", "test_get_test_params"),
    *("test_random_tags", "test_doctest_examples", "test_class_has_doctest_example"),
    *("test_persistence_via_pickle", "test_raises_not_fitted_error"),
    *("test_predict_time_index_with_X", "test_update_tag", "test_cutoff", "test_fit_predict"),
    *("test_unequal_length_hierarchical_fit_predict", "test_different_fh_in_fit_and_predict_error_handling"),
)


def sales(rows: int = 90, index: str = "datetime") -> pd.DataFrame:
    day, noise = np.arange(rows), np.random.default_rng(0).normal(size=(rows, 2))
    values = 10 + 3 * np.sin(2 * np.pi * day / 7)[:, None] + noise + [0, 100]
    dates = pd.date_range("2024-01-01", periods=rows, freq="D")
    axis = {"datetime": dates, "period": dates.to_period("D"), "int": pd.RangeIndex(5, 5 + rows)}[index]
    return pd.DataFrame(values, index=axis, columns=["sold", "visits"])


def assert_all_passed(results: dict[str, object]) -> None:
    assert results
    assert {name: result for name, result in results.items() if result != "PASSED"} == {}


def test_quick_checks_of_sktime():
    results = check_estimator(GateformerForecaster, tests_to_run=list(QUICK), verbose=False)
    assert_all_passed(results)
    assert {name.split("[")[0] for name in results} == set(QUICK)


@pytest.mark.slow
def test_every_check_of_sktime():
    assert_all_passed(check_estimator(GateformerForecaster, raise_exceptions=True, verbose=False))


@pytest.mark.parametrize("columns", [["sold"], ["sold", "visits"]])
def test_same_numbers_as_gated_forecast(columns):
    y = sales()[columns]
    plain = gated.forecast(y, 5, model="Gateformer", levels=(80, 90), seed=3, **TINY)
    forecaster = GateformerForecaster(**TINY, random_state=3).fit(y, fh=range(1, 6))
    ahead = forecaster.predict()
    np.testing.assert_allclose(ahead.to_numpy(), plain[columns].to_numpy())
    assert list(ahead.index) == list(plain.index)
    ends = forecaster.predict_interval(coverage=[0.9, 0.8])  # in the order that was asked for
    for name in columns:
        for level in (80, 90):
            np.testing.assert_allclose(ends[name, level / 100, "lower"], plain[f"{name}-lo-{level}"])
            np.testing.assert_allclose(ends[name, level / 100, "upper"], plain[f"{name}-hi-{level}"])
    np.testing.assert_allclose(forecaster.predict_quantiles(alpha=0.5).to_numpy(), ahead.to_numpy())


@pytest.mark.parametrize("index", ["period", "int"])
def test_other_indexes(index):
    y = sales(index=index)
    ahead = GateformerForecaster(**TINY, calibrate=False).fit(y, fh=[1, 2, 3]).predict()
    by_date = GateformerForecaster(**TINY, calibrate=False).fit(sales(), fh=[1, 2, 3]).predict()
    np.testing.assert_array_equal(ahead.to_numpy(), by_date.to_numpy())
    assert list(ahead.index) == [y.index[-1] + step for step in (1, 2, 3)]


def test_steps_of_a_horizon_can_be_left_out():
    y = sales()
    whole = GateformerForecaster(**TINY).fit(y, fh=range(1, 6))
    some = GateformerForecaster(**TINY).fit(y, fh=y.index[-1] + pd.to_timedelta([2, 5], unit="D"))
    pd.testing.assert_frame_equal(some.predict(), whole.predict().iloc[[1, 4]], check_freq=False)
    pd.testing.assert_frame_equal(some.predict_interval(), whole.predict_interval().iloc[[1, 4]], check_freq=False)


def test_what_is_known_ahead_is_given_to_predict():
    random = np.random.default_rng(1)
    dates = pd.date_range("2024-01-01", periods=160, freq="D")
    X = pd.DataFrame({"offer": random.integers(0, 2, 160).astype(float), 7: random.normal(size=160)}, index=dates)
    y = (20 + 10 * X["offer"] + random.normal(scale=0.1, size=160)).rename("sold")
    options = {"input_size": 14, "d_model": 16, "lr": 1e-2, "dropout": 0.0, "epochs": 40, "steps": 200}
    forecaster = GateformerForecaster(**options, calibrate=False).fit(y[:150], X=X[:150], fh=range(1, 11))
    ahead = forecaster.predict(X=X[150:])
    assert ahead.name == "sold"
    assert np.abs(ahead - y[150:]).max() < 3
    turned = forecaster.predict(X=X[150:].assign(offer=1 - X["offer"][150:])[[7, "offer"]])
    assert np.abs(turned + ahead - 50).max() < 6
    with pytest.raises(UserError, match="X in predict must be that of fit"):
        forecaster.predict()
    with pytest.raises(UserError, match="X in predict must be that of fit"):
        forecaster.predict(X=X[150:][["offer"]])


def test_update_moves_the_window_and_trains_only_if_asked_to():
    y = sales()
    forecaster = GateformerForecaster(**TINY, calibrate=False).fit(y[:80], fh=[1, 2])
    weights = {name: value.clone() for name, value in forecaster.network_.net.state_dict().items()}
    before = forecaster.predict()
    moved = forecaster.clone().fit(y[:80], fh=[1, 2]).update(y[80:], update_params=False)
    for name, value in moved.network_.net.state_dict().items():
        np.testing.assert_array_equal(value, weights[name])
    assert list(moved.predict().index) == list(pd.date_range("2024-03-31", periods=2))
    assert not np.allclose(moved.predict(), before)
    again = forecaster.update(y[80:], update_params=True).predict()
    pd.testing.assert_frame_equal(again, GateformerForecaster(**TINY, calibrate=False).fit(y, fh=[1, 2]).predict())


def test_forecasts_of_a_moving_cutoff_see_nothing_behind_it():
    from sktime.split import SlidingWindowSplitter

    y = sales()
    cv = SlidingWindowSplitter(fh=[1], window_length=20, step_length=5)
    forecaster = GateformerForecaster(**TINY, calibrate=False).fit(y[:60], fh=[1])
    known = forecaster.update_predict(y[60:], cv=cv, update_params=False)
    altered = y.copy()
    altered.iloc[85:] = 1e6
    pd.testing.assert_frame_equal(known, forecaster.update_predict(altered[60:], cv=cv, update_params=False))


def test_missing_values_and_rows():
    y = sales()
    y.iloc[[0, 40, 41, -1], 0] = np.nan
    X = pd.DataFrame({"known": np.arange(95.0)}, index=pd.date_range("2024-01-01", periods=95))
    X.iloc[[3, 92]] = np.nan
    forecaster = GateformerForecaster(**TINY).fit(y, X=X[:90], fh=[1, 5])
    assert np.isfinite(forecaster.predict(X=X[90:]).to_numpy()).all()
    assert np.isfinite(forecaster.predict_interval(X=X[90:]).to_numpy()).all()
    rows = sales(index="int").drop([50, 51])
    assert np.isfinite(GateformerForecaster(**TINY).fit(rows, fh=[1]).predict().to_numpy()).all()


def test_stored_without_the_trainer_and_read_back():
    forecaster = GateformerForecaster(**TINY).fit(sales(), fh=[1, 2])
    again = pickle.loads(pickle.dumps(forecaster))
    pd.testing.assert_frame_equal(again.predict_interval(), forecaster.predict_interval())
    assert forecaster.network_.data.trainer is None


@pytest.mark.parametrize("make", [lambda: 4, lambda: np.random.RandomState(4)])
def test_random_state_decides(make):
    def ahead(random_state):
        return GateformerForecaster(**TINY, calibrate=False, random_state=random_state).fit(sales(), fh=[1]).predict()

    pd.testing.assert_frame_equal(ahead(make()), ahead(make()))
    assert not ahead(make()).equals(ahead(5))


def test_what_cannot_be_forecast_is_refused():
    y = sales()
    gappy = y.drop(y.index[[10, 30]])
    with pytest.raises(UserError, match="not regular"):
        GateformerForecaster(**TINY).fit(gappy, fh=[1])
    with pytest.raises(UserError, match="no value") as empty:
        GateformerForecaster(**TINY).fit(y.assign(sold=np.nan), fh=[1])
    assert "'sold'" in str(empty.value)
    with pytest.raises(UserError, match="too short"):
        GateformerForecaster(**TINY).fit(y[:12], fh=[1])
    short = GateformerForecaster(**TINY).fit(y[:18], fh=[1, 2])
    assert len(short.predict()) == 2
    with pytest.raises(UserError, match="too short for prediction intervals"):
        short.predict_interval()
    with pytest.raises(NotImplementedError, match="prediction intervals"):
        GateformerForecaster(**TINY, calibrate=False).fit(y, fh=[1]).predict_interval()
    with pytest.raises(NotImplementedError, match="in-sample"):
        GateformerForecaster(**TINY).fit(y, fh=[-1, 1])
