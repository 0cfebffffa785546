from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gated.errors import UserError
from tasks.timeseries.reading import from_frame


def stacked(days, names=("unique_id", "ds", "y"), ids=("a", "b", "c"), rows=10, extra="", sep=","):
    """Series of rows, rows + 1, ... one after the other."""
    lines = [sep.join(names) + (f"{sep}extra" if extra else "")]
    for place, name in enumerate(ids):
        dates = days(rows + place)
        lines += [
            sep.join([name, d, str(100 * place + i)]) + (sep + extra if extra else "") for i, d in enumerate(dates)
        ]
    return lines


@pytest.mark.parametrize(
    "names",
    [("unique_id", "ds", "y"), ("item_id", "timestamp", "target"), ("Store", "Date", "Sales"), ("wer", "wann", "was")],
)
def test_long_layout_under_any_names(read, days, names):
    table = read(stacked(days, names))
    assert table.ids == ("a", "b", "c")
    assert table.lengths.tolist() == [10, 11, 12]
    assert table.columns == [names[2]]
    assert table.layout.id_column == names[0]
    assert table.group(1)[names[2]].tolist() == [100 + i for i in range(11)]
    assert table.layout.columns == names


def test_long_layout_in_order_of_time_and_with_numbers_for_names(read, days):
    lines = stacked(days, ids=("7", "12", "3"))
    table = read([lines[0], *sorted(lines[1:], key=lambda line: line.split(",")[1])])
    assert table.ids == ("7", "12", "3")
    assert table.lengths.tolist() == [10, 11, 12]
    assert not table.notes


def test_one_series_in_long_layout_keeps_its_name(read, days):
    table = read(stacked(days, ids=("only",)))
    assert table.ids == ("only",)
    assert table.layout.id_column == "unique_id"


def test_gaps_in_late_series_are_found(read, days):
    """autogluon#4372: not only the first hundred series are looked at."""
    lines = stacked(days, ids=[f"s{i}" for i in range(150)], rows=5)
    gone = lines.pop(-4)
    table = read(lines)
    assert "1 missing row(s) in 1 series" in table.notes[0]
    assert np.isnan(table.group(149)["y"]).sum() == 1
    assert gone.split(",")[1] in table.notes[0]


def test_other_numbers_of_a_long_table_are_left_out_and_named(read, days):
    table = read(stacked(days, extra="5"))
    assert table.columns == ["y"]
    assert "'extra'" in table.notes[0]
    assert read(stacked(days, ("item", "day", "litres"), extra="5")).columns == ["litres", "extra"]
    assert read(stacked(days, extra="5"), past="extra").past == ("extra",)


def test_dates_that_repeat_without_a_name_are_asked_about(read, days):
    lines = stacked(days, ("store", "date", "sold"), extra="x")
    pairs = [line.replace("extra", "dept") for line in lines[:1]]
    pairs += [f"{line.rsplit(',', 1)[0]},{dept}" for line in lines[1:] for dept in ("food", "toys")]
    with pytest.raises(UserError, match=r"'date' repeat[\s\S]*'store', 'dept'[\s\S]*--id-column"):
        read(pairs)


def test_id_column_by_option(read, days):
    lines = stacked(days, ("a1", "b1", "c1"), ids=("1", "2"))
    assert read(lines, id_column="a1").ids == ("1", "2")
    lines[4] = lines[4].replace("1,", ",", 1)
    with pytest.raises(UserError, match=r"'a1': the name of a series is missing[\s\S]*line 5"):
        read(lines, id_column="a1")


def test_text_columns_of_a_wide_table_are_left_out(read, days):
    lines = ["date,x,sky", *(f"{d},{i},{'sun' if i % 2 else 'rain'}" for i, d in enumerate(days()))]
    table = read(lines)
    assert table.columns == ["x"]
    assert table.notes == ("left out, they hold text: 'sky'",)
    with pytest.raises(UserError, match=r"'sky' does not hold numbers[\s\S]*'rain' in line 2"):
        read(lines, target=["x", "sky"])


def test_covariates_of_text_and_truth(read, days):
    lines = ["date,x,sky,open", *(f"{d},{i},{'sun' if i % 2 else 'rain'},{i > 4}" for i, d in enumerate(days()))]
    table = read(lines, past=["sky", "open"])
    assert table.columns == ["x"]
    assert table.past == ("sky=rain", "sky=sun", "open")
    assert table.values["sky=sun"].tolist() == [i % 2 for i in range(10)]
    assert table.values["open"].tolist() == [i > 4 for i in range(10)]
    many = ["date,x,sky", *(f"{d},{i},kind {i}" for i, d in enumerate(days(30)))]
    with pytest.raises(UserError, match="'sky' holds text of too many kinds"):
        read(many, past="sky")


def test_what_is_known_ahead_is_taken_from_the_last_rows(read, days):
    """Nixtla/neuralforecast#1221, #1003: future covariates with their own dates, in the same table."""
    lines = ["date,x,promo", *(f"{d},{i if i < 14 else ''},{i % 3}" for i, d in enumerate(days(20)))]
    table = read(lines, future="promo")
    assert (table.columns, table.future) == (["x"], ("promo",))
    assert len(table.values) == 14
    assert table.ahead.tolist() == [[[i % 3] for i in range(14, 20)]]
    assert str(table.future_dates(1)[0].date()) == days(20)[14]
    assert any("6 row(s) at the end" in note for note in table.notes)


def test_the_fewest_known_ahead_count(read, days):
    lines = ["id,date,x,promo"]
    for name, ahead in (("a", 4), ("b", 3)):
        lines += [f"{name},{d},{i if i < 10 else ''},{i}" for i, d in enumerate(days(10 + ahead))]
    table = read(lines, id_column="id", future=["promo"], target="x")
    assert table.ahead.tolist() == [[[10], [11], [12]]] * 2
    assert table.lengths.tolist() == [10, 10]
    assert any("first 3 that all know" in note for note in table.notes)


def test_rows_without_any_value_at_the_end(read, days):
    table = read(["date,x,y", *(f"{d},{i if i < 8 else ''},{i if i < 5 else ''}" for i, d in enumerate(days()))])
    assert len(table.values) == 8
    assert table.values["y"].isna().sum() == 3
    assert "2 row(s) without any value at the end left out" in table.notes


def test_static_columns(read, days):
    size, kind = {"a": 3, "b": 5}, {"a": "big", "b": "small"}
    lines = ["id,date,y,size,kind"]
    lines += [f"{n},{d},{i},{size[n]},{kind[n]}" for n in "ab" for i, d in enumerate(days())]
    table = read(lines, static=["size", "kind"])
    assert table.static.columns.tolist() == ["size", "kind=big", "kind=small"]
    assert table.static.to_numpy().tolist() == [[3, 1, 0], [5, 0, 1]]
    lines[4] = lines[4].replace(",3,big", ",4,big")
    with pytest.raises(UserError, match="static column 'size' has several values in series 'a'"):
        read(lines, static="size")


def test_series_without_a_value(read, days):
    lines = stacked(days)
    lines[11:22] = [line.rsplit(",", 1)[0] + "," for line in lines[11:22]]
    table = read(lines)
    assert table.ids == ("a", "c")
    assert table.lengths.tolist() == [10, 12]
    assert "1 series without a value left out ('b')" in table.notes


def test_one_column_can_be_one_thing(read, days):
    with pytest.raises(UserError, match=r"'y' can't be two things[\s\S]*--target and --past"):
        read(stacked(days), target="y", past="y")


def test_constant_series_are_told(read, days):
    table = read(["date,x,y", *(f"{d},5,{i}" for i, d in enumerate(days()))])
    assert table.columns == ["x", "y"]
    assert table.notes == ("1 series never change: 'x'",)


def test_frames_in_long_layout():
    frame = pd.DataFrame(
        {
            "unique_id": pd.Categorical(["a"] * 5 + ["b"] * 6),
            "ds": [*pd.date_range("2024", periods=5), *pd.date_range("2024", periods=6)],
            "y": pd.array([1, 2, None, 4, 5, 1, 2, 3, 4, 5, 6], dtype="Int64"),
        }
    )
    for given in (frame, frame.set_index(["unique_id", "ds"])):
        table = from_frame(given)
        assert table.ids == ("a", "b")
        np.testing.assert_array_equal(table.values["y"], frame["y"].to_numpy(dtype=float, na_value=np.nan))


def test_frames_of_many_kinds():
    periods = pd.DataFrame({"x": range(9)}, index=pd.period_range("2023-01", periods=9, freq="M", name="month"))
    assert from_frame(periods).frequency == "MS"
    counted = pd.DataFrame({"t": range(9), "x": range(9)})
    assert from_frame(counted).frequency == 1
    objects = pd.DataFrame({"day": pd.date_range("2024", periods=9).date, "x": [str(i) for i in range(9)]})
    assert from_frame(objects).values["x"].tolist() == list(range(9))
    flags = pd.DataFrame({"day": pd.date_range("2024", periods=9), "x": range(9), "up": [True] * 4 + [False] * 5})
    assert from_frame(flags, past="up").values["up"].tolist() == [1.0] * 4 + [0.0] * 5
