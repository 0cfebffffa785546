"""`gated.forecast` on the frames that other libraries use: polars, and long frames as neuralforecast writes them."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest

import gated
from gated.errors import UserError

TINY = {"model": "Gateformer", "d_model": 8, "d_ff": 8, "epochs": 1, "steps": 2}
LENGTHS = {3: 60, 1: 47, 2: 80}
FIRST = date(2024, 1, 1)
FORECAST = ["Gateformer", "Gateformer-lo-90", "Gateformer-hi-90"]


def long_frame() -> pd.DataFrame:
    random, parts = np.random.default_rng(0), []
    for name, rows in LENGTHS.items():
        values = 10 * name + np.arange(rows) % 7 + random.normal(size=rows)
        parts.append(
            pd.DataFrame({"unique_id": name, "ds": pd.date_range(FIRST, periods=rows, unit="us"), "y": values})
        )
    return pd.concat(parts, ignore_index=True)


def long_polars() -> pl.DataFrame:
    frame = long_frame()
    return pl.DataFrame({name: frame[name].to_list() for name in frame.columns})


def after(name: int, steps: int = 3) -> list[date]:
    return [FIRST + timedelta(days=LENGTHS[name] + step) for step in range(steps)]


def assert_right(ids: list, dates: list[date], numbers: np.ndarray) -> None:
    """Every group in its place, on the dates after its last row, at its level and inside its interval."""
    assert [int(name) for name in ids] == [name for name in LENGTHS for _ in range(3)]
    assert dates == [day for name in LENGTHS for day in after(name)]
    middle, low, high = numbers.T
    assert (np.abs(middle - [10 * int(name) + 3 for name in ids]) < 8).all()
    assert (low < middle).all()
    assert (middle < high).all()


@pytest.mark.parametrize("kind", [pl.Int64, pl.Int32, pl.String, pl.Categorical, pl.Enum(["1", "2", "3"])], ids=str)
def test_long_polars_keeps_the_kind_of_its_names(kind):
    given = long_polars()
    if not kind.is_integer():
        given = given.with_columns(pl.col("unique_id").cast(pl.String))
    given = given.with_columns(pl.col("unique_id").cast(kind))
    ahead = gated.forecast(given, 3, levels=(90,), **TINY)
    assert ahead.columns == ["unique_id", "ds", *FORECAST]
    assert ahead.dtypes[:2] == given.dtypes[:2]
    days = [moment.date() for moment in ahead["ds"].to_list()]
    assert_right(ahead["unique_id"].to_list(), days, ahead.select(FORECAST).to_numpy())


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (pl.Date, FIRST + timedelta(days=60)),
        (pl.Datetime("ms"), datetime(2024, 3, 1)),
        (pl.Datetime("ns"), datetime(2024, 3, 1)),
        (pl.String, "2024-03-01"),
    ],
    ids=str,
)
def test_long_polars_keeps_the_kind_of_its_dates(kind, first):
    given = long_polars().with_columns(pl.col("ds").dt.date())
    given = given.with_columns(pl.col("ds").cast(kind))
    ahead = gated.forecast(given, 3, **TINY)
    assert ahead.schema == {"unique_id": pl.Int64, "ds": kind, "Gateformer": pl.Float64}
    assert ahead["ds"][0] == first


def test_polars_keeps_the_time_zone_over_the_change_of_clocks():
    hours = pl.datetime_range(
        datetime(2024, 3, 26), datetime(2024, 3, 30, 23), "1h", time_zone="Europe/Berlin", eager=True
    )
    given = pl.DataFrame({"at": hours, "load": np.random.default_rng(0).normal(size=len(hours))})
    ahead = gated.forecast(given, 24, **TINY)
    assert ahead.schema["at"] == given.schema["at"]
    assert (ahead["at"].diff().drop_nulls() == timedelta(hours=1)).all()
    assert ahead["at"][-1].isoformat() == "2024-04-01T00:00:00+02:00"


@pytest.mark.filterwarnings("ignore:gated.forecast read the frame so")
def test_wide_polars():
    days = [FIRST + timedelta(days=day) for day in range(80)]
    sold = [None if day == 30 else 10 + day % 7 for day in range(80)]
    given = pl.DataFrame({"sold": sold, "day": days, "price": np.linspace(1, 2, 80).astype(np.float32)})
    ahead = gated.forecast(given, 5, levels=(80,), **TINY)
    assert ahead.columns[:3] == ["sold", "day", "price"]
    assert set(ahead.columns[3:]) == {"sold-lo-80", "sold-hi-80", "price-lo-80", "price-hi-80"}
    assert ahead.schema["day"] == pl.Date
    assert ahead["day"].to_list() == [FIRST + timedelta(days=80 + step) for step in range(5)]
    by_pandas = gated.forecast(pd.DataFrame(given.to_dict(as_series=False)), 5, **TINY)
    np.testing.assert_allclose(ahead["sold"].to_numpy(), by_pandas["sold"])
    assert by_pandas["day"].to_list() == ahead["day"].to_list()  # days of Python in a column of objects


def test_lazy_polars_is_refused():
    with pytest.raises(UserError, match="LazyFrame") as lazy:
        gated.forecast(long_polars().lazy(), 3)
    assert ".collect()" in str(lazy.value)


@pytest.mark.parametrize("names", [("unique_id", "ds", "y"), ("item_id", "timestamp", "target")])
@pytest.mark.parametrize("kind", ["int64", "str", "category", "float64"])
def test_long_pandas_as_other_libraries_write_it(names, kind):
    given = long_frame()
    if kind == "category":
        given["unique_id"] = given["unique_id"].astype(str)
    given = given.astype({"unique_id": kind}).set_axis(names, axis=1)
    ahead = gated.forecast(given, 3, levels=(90,), **TINY)
    assert list(ahead.columns) == [*names[:2], *FORECAST]
    assert list(ahead.dtypes.iloc[:2]) == list(given.dtypes.iloc[:2])
    days = [moment.date() for moment in ahead[names[1]]]
    assert_right(ahead[names[0]].to_list(), days, ahead[FORECAST].to_numpy())


def test_long_pandas_with_names_and_dates_as_index():
    given = long_frame()
    ahead = gated.forecast(given.set_index(["unique_id", "ds"]), 3, **TINY)
    pd.testing.assert_frame_equal(ahead.reset_index(), gated.forecast(given, 3, **TINY))


def test_periods_stay_periods():
    months = pd.period_range("2018-01", periods=60, freq="M", name="month")
    given = pd.DataFrame({"sold": np.random.default_rng(0).normal(size=60), 7: np.arange(60.0)}, index=months)
    ahead = gated.forecast(given, 3, **TINY)
    pd.testing.assert_index_equal(ahead.index, pd.period_range("2023-01", periods=3, freq="M", name="month"))
    assert list(ahead.columns) == ["sold", 7]
    column = gated.forecast(given.reset_index(), 3, **TINY)
    assert column["month"].dtype == months.dtype
    assert list(column["month"]) == list(ahead.index)


def test_numbers_as_dates_stay_numbers():
    given = pd.DataFrame({"year": np.arange(1960, 2020), "rain": np.random.default_rng(0).normal(size=60)})
    ahead = gated.forecast(given, 3, **TINY)
    assert ahead["year"].dtype == given["year"].dtype
    assert ahead["year"].to_list() == [2020, 2021, 2022]
    counted = gated.forecast(given.rename(columns={"year": "step"}).assign(step=np.arange(60)), 3, **TINY)
    assert counted["step"].to_list() == [60, 61, 62]


@pytest.mark.filterwarnings("ignore:gated.forecast read the frame so")
def test_date_and_time_of_day_in_two_columns():
    hours = pd.date_range("2024-01-01", periods=96, freq="h")
    load = np.random.default_rng(0).normal(size=96)
    given = pd.DataFrame({"date": hours.strftime("%d.%m.%Y"), "time": hours.strftime("%H:%M"), "load": load})
    ahead = gated.forecast(given, 2, **TINY)
    assert ahead[["date", "time"]].to_numpy().tolist() == [["05.01.2024", "00:00"], ["05.01.2024", "01:00"]]


@pytest.mark.parametrize("polars", [False, True])
def test_what_is_known_ahead_stands_in_rows_without_y_at_the_end(polars):
    random, parts = np.random.default_rng(2), []
    for name, rows in (("a", 90), ("b", 120)):
        offer = random.integers(0, 2, rows).astype(float)
        y = 20 + 10 * offer + random.normal(scale=0.1, size=rows)
        y[-4:] = np.nan
        dates = pd.date_range(FIRST, periods=rows, unit="us")
        parts.append(pd.DataFrame({"unique_id": name, "ds": dates, "y": y, "offer": offer}))
    given = pd.concat(parts, ignore_index=True)
    wanted = 20 + 10 * given["offer"][given["y"].isna()].to_numpy()
    options = {**TINY, "d_model": 16, "lr": 1e-2, "dropout": 0.0, "epochs": 40, "steps": 200, "input_size": 14}
    if polars:
        nullable = given["y"].astype(object).where(given["y"].notna(), None).to_list()
        given = pl.DataFrame({**{name: given[name].to_list() for name in given.columns}, "y": nullable})
    ahead = gated.forecast(given, 4, future=["offer"], **options)
    assert list(ahead.columns) == ["unique_id", "ds", "Gateformer"]
    assert np.abs(ahead["Gateformer"].to_numpy() - wanted).max() < 3
    first_day, other_day = (ahead["ds"].to_list()[place] for place in (0, 4))
    assert (first_day, other_day) == (datetime(2024, 3, 27), datetime(2024, 4, 26))
