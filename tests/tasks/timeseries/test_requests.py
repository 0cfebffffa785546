"""What people ask of `gated.forecast` and of the command: every mistake is one message, no name is given twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import gated
from gated.errors import UserError
from tasks.timeseries.commands import forecast as command
from tasks.timeseries.recipe import Recipe

DAYS = pd.date_range("2024-01-01", periods=60, freq="D")
VALUES = 100 + 10 * np.sin(np.arange(60) / 3)
FRAME = pd.DataFrame({"date": DAYS, "x": VALUES})
QUICK = {"model": "repeat-last", "steps": 1, "d_model": 8, "d_ff": 8}


def forecast(frame: Any = FRAME, horizon: Any = 3, **options: Any) -> Any:
    return gated.forecast(frame, horizon, **QUICK | options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"horizon": 3.0}, r"horizon must be a whole number(.|\n)*>= 1(.|\n)*3\.0"),
        ({"horizon": "3"}, "horizon must be a whole number(.|\n)*'3'"),
        ({"horizon": None}, "horizon must be a whole number(.|\n)*None"),
        ({"horizon": 0}, "horizon must be a whole number(.|\n)*0"),
        ({"steps": -1}, "steps must be a whole number(.|\n)*-1"),
        ({"steps": "5"}, "steps must be a whole number(.|\n)*'5'"),
        ({"levels": [150]}, "a level is a share in percent(.|\n)*between 0 and 100(.|\n)*150"),
        ({"levels": "90"}, "a level is a share in percent(.|\n)*'90'"),
        ({"target": ["x", "x"]}, "--target names column 'x' twice"),
        ({"target": 1}, "'1'"),
        ({"frame": pl.Series("x", [1.0, 2.0])}, "not a table(.|\n)*polars DataFrame(.|\n)*Series"),
        (
            {"frame": FRAME.set_axis(pd.MultiIndex.from_tuples([("a", "date"), ("a", "x")]), axis=1)},
            r"names of several levels(.|\n)*\('a', 'date'\)(.|\n)*join",
        ),
    ],
)
def test_a_wrong_request_is_one_message(arguments: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        forecast(**arguments)


def test_one_level_is_a_number_and_none_comes_twice():
    assert list(forecast(levels=90).columns) == ["date", "x", "x-lo-90", "x-hi-90"]
    assert list(forecast(levels=(90, 90.0)).columns) == ["date", "x", "x-lo-90", "x-hi-90"]


def test_a_column_with_the_name_of_an_end_is_refused_before_anything_is_trained(tmp_path: Path):
    taken = FRAME.assign(**{"x-lo-90": VALUES})
    with pytest.raises(UserError, match=r"two columns 'x-lo-90'(.|\n)*--target"):
        forecast(taken, levels=[90])
    assert list(forecast(taken).columns) == ["date", "x", "x-lo-90"]
    taken.to_csv(tmp_path / "taken.csv", index=False)
    with pytest.raises(UserError, match="two columns 'x-lo-90'"):
        command([str(tmp_path / "taken.csv"), "--horizon", "3", "--out", str(tmp_path / "out.csv")])
    assert not (tmp_path / "out.csv").exists()


def test_dates_of_an_index_do_not_fall_into_a_column_of_that_name():
    found = forecast(pd.DataFrame({"date": VALUES, "x": VALUES}, index=DAYS))
    assert found.index[0] == DAYS[-1] + pd.Timedelta("1D")
    assert list(found.columns) == ["date", "x"]
    assert np.allclose(found["date"], VALUES[-1])


@pytest.mark.parametrize("ids", [[1700000000000000001, 1700000000000000002], [1.0, 2.5], [3.0, 4.0]])
def test_ids_of_numbers_come_back_as_they_were(ids: list[float]):
    frame = pd.concat([FRAME.assign(unique_id=name, x=VALUES + place) for place, name in enumerate(ids)])
    found = forecast(frame)
    assert found["unique_id"].tolist() == [name for name in ids for _ in range(3)]
    assert found["unique_id"].dtype == frame["unique_id"].dtype


def test_columns_may_be_numbers():
    found = forecast(FRAME.rename(columns={"x": 1}).assign(other=VALUES), target=1)
    assert list(found.columns) == ["date", 1]


def test_an_index_of_levels_without_names_comes_back():
    index = pd.MultiIndex.from_product([["a", "b"], DAYS])
    found = forecast(pd.DataFrame({"x": np.concatenate((VALUES, VALUES))}, index=index))
    assert found.index.names == [None, None]
    assert found.index[0] == ("a", DAYS[-1] + pd.Timedelta("1D"))


def test_what_was_repaired_is_said():
    holes = FRAME.copy()
    holes.loc[5, "x"] = np.nan
    with pytest.warns(UserWarning, match=r"column 'x': 1 missing value"):
        forecast(holes)


def test_a_recipe_is_checked_where_it_is_made():
    with pytest.raises(UserError, match="input_size must be a whole number"):
        Recipe(input_size=0)


HOURS = pd.date_range("2024-01-01", periods=96, freq="h")


@pytest.mark.filterwarnings("ignore:gated.forecast read the frame so")
@pytest.mark.parametrize("clock", ["text", "time", "number"])
@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_date_and_time_of_day_come_back_as_they_were(clock: str, kind: str):
    times = {"text": HOURS.strftime("%H:%M"), "time": HOURS.time, "number": HOURS.hour}[clock]
    frame = pd.DataFrame({"date": HOURS.normalize(), "time": times, "load": np.arange(96.0) % 24})
    given = frame if kind == "pandas" else pl.DataFrame({name: frame[name].to_list() for name in frame.columns})
    found = forecast(given, horizon=5)
    following = pd.date_range(HOURS[-1] + pd.Timedelta("1h"), periods=5, freq="h")
    assert list(found.columns) == ["date", "time", "load"]
    expected = {"text": following.strftime("%H:%M"), "time": following.time, "number": following.hour}[clock]
    assert list(found["time"]) == list(expected)
    assert [pd.Timestamp(day) for day in found["date"]] == list(following.normalize())
    if kind == "polars":
        assert found.schema == given.schema
    else:
        assert found.dtypes["date"] == frame.dtypes["date"]
        assert found.dtypes["time"] == frame.dtypes["time"]
