from __future__ import annotations

import numpy as np
import pytest

from gated.errors import UserError


def column(read, days, cells, sep=";", **options):
    lines = [f"date{sep}x", *(f"{d}{sep}{cell}" for d, cell in zip(days(len(cells)), cells, strict=True))]
    return read(lines, **options)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1,5", "2", "1.234,5", "1.234.567"], [1.5, 2, 1234.5, 1234567]),
        (["1.5", "2", "1,234.5", "1,234,567"], [1.5, 2, 1234.5, 1234567]),
        (["1 234,5", "2", "3", "1\u202f000"], [1234.5, 2, 3, 1000]),
        (["1'234.5", "-2", "+3", "1e3"], [1234.5, -2, 3, 1000]),
        (["12 %", "", "3%", "4 %"], [12, np.nan, 3, 4]),
        (["$3", "$1,200.50", "$ 5", "$7"], [3, 1200.5, 5, 7]),
        (["3,25 €", "-", "1.200,50 €", "5 €"], [3.25, np.nan, 1200.5, 5]),
        (["1,250", "2,500", "0,125", "3,000"], [1.25, 2.5, 0.125, 3]),
        (["\u22123", "n/a", "#N/A", "NULL", "4"], [-3, np.nan, np.nan, np.nan, 4]),
        ([".5", "NaN", "?", "5."], [0.5, np.nan, np.nan, 5]),
    ],
)
def test_ways_to_write_numbers(read, days, cells, expected):
    np.testing.assert_array_equal(column(read, days, cells).values["x"], expected)


def test_thousands_and_units_are_told(read, days):
    notes = " ".join(column(read, days, ["$1,200.50", "$3", "$5"]).notes)
    assert "'$'" in notes
    assert "'$1,200.50' and the like are read as thousands" in notes


def test_quoted_thousands_in_a_file_with_commas(read, days):
    table = column(read, days, ['"1,234"', "999", '"12,345"', "7"], sep=",")
    assert table.values["x"].tolist() == [1234, 999, 12345, 7]


def test_some_percent_are_no_numbers(read, days):
    with pytest.raises(UserError, match=r"'x' has a cell that is not a number[\s\S]*'12 %' in line 5"):
        column(read, days, ["1", "2", "3", "12 %", "5", "6"])


def test_marks_of_missing_values_by_option(read, days):
    cells = ["1", "closed", "3", "-7", "5", "6"]
    with pytest.raises(UserError, match="--missing 'closed'"):
        column(read, days, cells)
    values = column(read, days, cells, missing=["closed", -7]).values["x"]
    assert np.isnan(values).tolist() == [False, True, False, True, False, False]


@pytest.mark.parametrize(
    ("cells", "taken"),
    [
        ([2, 1479, -200, 300, -200, 12, -200, 55], 3),  # the only negative number of its column
        ([20.5, -3, -999, 12, -999, 9, -999, 1], 3),
        ([5, 6, 9999, 7, 9999, 5, 9999, 6], 3),
        ([5, 6, 9999, 7, 9999, 5, 6, 6], 0),  # twice only
        ([-150, 6, -200, 170, -200, -80, -200, 6], 0),  # not far from the others
        ([950, 999, 999, 980, 999, 1020, 999, 970], 0),
        ([-200] * 8, 0),
    ],
)
def test_sentinels_only_where_they_are_plain(read, days, cells, taken):
    table = column(read, days, cells)
    assert table.values["x"].isna().sum() == taken
    assert any("taken for missing" in note for note in table.notes) == bool(taken)
    assert (
        sum(np.isnan(v) != (c in (-200, -999, 9999)) for v, c in zip(table.values["x"], cells, strict=True) if taken)
        == 0
    )


@pytest.mark.parametrize("cell", ["1e101", "inf", "-Infinity", "9" * 400])
def test_absurd_numbers(read, days, cell):
    with pytest.raises(UserError, match=r"'x' (has a number that is too large|has a cell that is not)[\s\S]*line 4"):
        column(read, days, ["1", "2", cell, "4", "5"])


def test_decimals_of_a_column(read, days):
    lines = ["date,x,y,k", *(f"{d},{i}.125,{i}.5,{i}" for i, d in enumerate(days()))]
    assert read(lines).layout.decimals == {"x": 3, "y": 2, "k": 2}
