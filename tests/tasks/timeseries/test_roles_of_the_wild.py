"""What each column is for, in tables with the faults that files on disks have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gated.errors import UserError
from tasks.timeseries.reading import from_frame, read_table
from tasks.timeseries.table import Table

DAYS = pd.date_range("2024-01-01", periods=60)
LOCAL = pd.date_range("2024-10-20", periods=24 * 12, freq="h", tz="Europe/Berlin")
Read = Callable[..., Table]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a header and rows of cells, and read them."""

    def run(header: str, rows: list[list[Any]], delimiter: str = ",", **options: Any) -> Table:
        path = tmp_path / "table.csv"
        path.write_text("\n".join([header, *(delimiter.join(map(str, row)) for row in rows)]) + "\n")
        return read_table(path, **options)

    return run


def daily(middle: tuple[str, ...], again: str, form: str = "%Y-%m-%d") -> list[list[Any]]:
    """A row for each day whose middle cell takes turns, and a second row for the 31st of January."""
    rows = [[f"{day:{form}}", middle[i % len(middle)], 100 + i % 11] for i, day in enumerate(DAYS)]
    return [*rows[:31], [rows[30][0], again, 88], *rows[31:]]


def is_averaged(table: Table) -> bool:
    return any(note.startswith("1 date(s) with several different rows averaged") for note in table.notes)


@pytest.mark.parametrize(
    ("middle", "again", "columns"),
    [
        (("rain", "sun", "snow"), "fog", ["units"]),
        (("0%", "10%", "20%", "30%"), "50%", ["what", "units"]),
        (("", "", "", "sale", ""), "", ["units"]),
        (("", "", "", "sale", ""), "refund", ["units"]),
        (("fine",), "corrected", ["units"]),
    ],
)
def test_one_doubled_date_is_no_second_series(read: Read, middle, again, columns):
    table = read("date,what,units", daily(middle, again))
    assert (table.layout.id_column, table.columns, table.frequency) == (None, columns, "D")
    assert len(table.values) == 60
    assert is_averaged(table)


@pytest.mark.parametrize("name", ["state", "category", "name"])
def test_one_doubled_date_is_no_second_series_whatever_the_column_is_called(read: Read, name):
    table = read(f"date,{name},units", daily(("on", "off"), "broken"))
    assert (table.layout.id_column, table.frequency) == (None, "D")


@pytest.mark.parametrize("prices", [("3,99", "4,99", "5,99", "6,99"), ("1.234,5", "1.240,5", "999,5", "1.111,5")])
def test_german_numbers_are_no_names(read: Read, prices):
    table = read("Datum;Preis;Menge", daily(prices, "9,49", "%d.%m.%Y"), ";")
    assert (table.layout.id_column, table.columns, table.frequency) == (None, ["Preis", "Menge"], "D")
    assert is_averaged(table)
    assert table.values["Preis"].iloc[0] == float(prices[0].replace(".", "").replace(",", "."))


@pytest.mark.parametrize(
    "flag", [lambda d: d.tzname(), lambda d: "S" if d.utcoffset().seconds == 7200 else "W"], ids=["zone", "season"]
)
def test_the_doubled_hour_of_a_clock_change_is_no_second_series(read: Read, flag):
    table = read("time,flag,load", [[f"{d:%Y-%m-%d %H:%M}", flag(d), i] for i, d in enumerate(LOCAL)])
    assert (table.layout.id_column, table.columns, table.frequency) == (None, ["load"], "h")
    assert is_averaged(table)
    assert any(note.startswith("daylight saving") for note in table.notes)


def test_the_only_column_of_numbers_is_forecast_where_an_hour_is_doubled(read: Read):
    rows = [[f"{d:%d.%m.%Y %H:%M}", f"{100 + i % 24},0"] for i, d in enumerate(LOCAL)]
    table = read("Zeit;Last", rows, ";")
    assert (table.columns, table.frequency) == (["Last"], "h")


@pytest.mark.parametrize("names", ["wer,wann,was", "store,date,sales", "unique_id,ds,y"])
@pytest.mark.parametrize(
    "spans",
    [
        {"a": (0, 60), "b": (0, 60)},
        {"a": (0, 60), "b": (50, 60)},
        {"a": (0, 60), "b": (20, 23)},
        {"a": (0, 30), "b": (15, 60)},
        {"a": (0, 20), "b": (10, 30), "c": (20, 40), "d": (30, 60)},
    ],
)
def test_series_of_different_length_are_found(read: Read, names, spans):
    rows = [[name, DAYS[i].date(), i] for name, span in spans.items() for i in range(*span)]
    table = read(names, rows)
    assert table.layout.id_column == names.split(",")[0]
    assert table.ids == tuple(spans)
    assert table.lengths.tolist() == [last - first for first, last in spans.values()]
    assert table.frequency == "D"


def test_a_weekly_series_beside_a_daily_one_is_found(read: Read):
    rows = [["a", day.date(), i] for i, day in enumerate(DAYS)] + [["b", day.date(), 1] for day in DAYS[::7]]
    assert read("wer,wann,was", rows).ids == ("a", "b")


def test_a_name_that_is_missing_is_told_where_the_column_is_an_id_for_certain(read: Read):
    rows = [[name, day.date(), i] for name in "ab" for i, day in enumerate(DAYS)]
    rows[3][0] = ""
    with pytest.raises(UserError, match=r"name of a series is missing[\s\S]*line 5"):
        read("unique_id,ds,y", rows)


def pairs(first: str = "", second: str = "") -> list[list[Any]]:
    """Two stores with two items each."""
    return [
        [day.date(), f"{first}{store}", f"{second}{item}", i * store + item]
        for i, day in enumerate(DAYS)
        for store in (1, 2)
        for item in (7, 8)
    ]


@pytest.mark.parametrize(
    ("names", "letters"), [("store_id,item_id", ""), ("store,item_id", "I"), ("store,item", "I"), ("shop,dept", "")]
)
def test_series_that_two_columns_tell_apart_are_never_averaged(read: Read, names, letters):
    first, second = names.split(",")
    with pytest.raises(UserError, match=rf"not plain which column[\s\S]*--id-column \(join '{first}' and '{second}'"):
        read(f"date,{names},sales", pairs(letters, letters))


def test_an_id_that_was_told_and_leaves_dates_repeated_is_refused(read: Read):
    with pytest.raises(
        UserError, match=r"'item_id' does not tell the series apart[\s\S]*join 'item_id' and 'store_id'"
    ):
        read("date,store_id,item_id,sales", pairs(), id_column="item_id")
    joined = [[*row, f"{row[1]}-{row[2]}"] for row in pairs()]
    header = "date,store_id,item_id,sales,both"
    with pytest.raises(UserError, match="name 'both' instead"):
        read(header, joined, id_column="item_id")
    assert read(header, joined, id_column="both").ids == ("1-7", "1-8", "2-7", "2-8")


def test_a_column_called_id_beside_those_of_its_parts_is_found(read: Read):
    table = read("date,store_id,item_id,sales,id", [[*row, f"{row[1]}-{row[2]}"] for row in pairs()])
    assert table.layout.id_column == "id"


def test_a_table_that_was_appended_to_itself_keeps_its_id(read: Read):
    rows = [[name, day.date(), i] for name in "ab" for i, day in enumerate(DAYS)] * 2
    for options in ({}, {"id_column": "unique_id"}):
        table = read("unique_id,ds,y", rows, **options)
        assert table.lengths.tolist() == [60, 60]
        assert "120 row(s) that repeat another left out" in table.notes[-1] + table.notes[-2]


@pytest.mark.parametrize(("name", "shown"), [("", "column 1"), ("Unnamed: 0", "Unnamed: 0")])
@pytest.mark.parametrize("first", [0, 1])
def test_the_index_of_a_frame_is_no_series(read: Read, name, shown, first):
    table = read(f"{name},date,y", [[first + i, day.date(), i % 7] for i, day in enumerate(DAYS)])
    assert table.columns == ["y"]
    assert f"left out, it counts the rows: {shown!r}" in table.notes


def test_the_indices_of_joined_frames_are_no_series(read: Read):
    rows = [[i, day.date(), name, i % 7] for name in "ab" for i, day in enumerate(DAYS)]
    table = read(",day,item,litres", rows)
    assert (table.layout.id_column, table.columns) == ("item", ["litres"])


def test_a_column_that_only_looks_like_an_index_is_kept(read: Read):
    rows = [[i * i, day.date(), i] for i, day in enumerate(DAYS)]
    assert read(",date,y", rows).columns == ["column 1", "y"]
    assert read(",date,y", [[5, day.date(), i] for i, day in enumerate(DAYS)]).columns == ["column 1", "y"]
    counts = [[i, day.date(), i % 7] for i, day in enumerate(DAYS)]
    assert read("parcels,date,y", counts).columns == ["parcels", "y"]
    assert read(",date,y", counts, target="column 1").columns == ["column 1"]
    assert read(",x,y", [[i, i, i % 7] for i in range(20)]).columns == ["x", "y"]
    assert from_frame(pd.DataFrame({"column 1": np.arange(60)}, index=DAYS)).columns == ["column 1"]


def test_an_invented_name_is_not_one_that_is_there(read: Read):
    table = read("date,,column 2", [[day.date(), i * i, i] for i, day in enumerate(DAYS)])
    assert table.columns == ["unnamed column 2", "column 2"]
    assert table.values["unnamed column 2"].iloc[3] == 9
    assert table.values["column 2"].iloc[3] == 3


GERMAN = ("Jan", "Feb", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez.")
FRENCH = ("janv.", "févr.", "mars", "avril", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc.")
ENGLISH = tuple(pd.date_range("2024", periods=12, freq="MS").strftime("%B"))


@pytest.mark.parametrize(
    ("header", "months"),
    [
        ("year,month,sales", ENGLISH),
        ("year,period,sales", tuple(month[:3] for month in ENGLISH)),
        ("year,month,sales", tuple(range(1, 13))),
        ("year,Monat,sales", GERMAN),
        ("year,mois,sales", FRENCH),
    ],
)
def test_years_and_months_in_two_columns(read: Read, header, months):
    rows = [[year, month, i] for year in range(2000, 2024) for i, month in enumerate(months)]
    name = header.split(",")[1]
    with pytest.raises(UserError, match=rf"'year' holds years alone, and column '{name}'[\s\S]*such as 2024-01"):
        read(header, rows)


def test_months_of_series_that_are_yearly_are_no_part_of_the_date(read: Read):
    rows = [
        [name, year, ENGLISH[(year + len(name)) % 12], year % 7] for name in ("a", "bb") for year in range(1990, 2020)
    ]
    table = read("country,year,month,sales", rows)
    assert (table.ids, table.frequency) == (("a", "bb"), "YS-JAN")
    stores = [[year, store, year % 5 + store] for year in range(1990, 2020) for store in range(1, 13)]
    assert read("year,store,sales", stores).layout.id_column == "store"
