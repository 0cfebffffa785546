"""Numbers as people's programs export them: German and French tables, SAP, accounting, meters, physics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gated.errors import UserError
from tasks.timeseries.reading import from_frame, read_table, write_table
from tasks.timeseries.table import Table

Read = Callable[..., Table]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write columns beside dates to a file and read it."""

    def run(columns: dict[str, Sequence[str]], sep: str = ";", dates: str = "%d.%m.%Y", **options: object) -> Table:
        rows = len(next(iter(columns.values())))
        frame = {"Datum": pd.date_range("2024-01-01", periods=rows, freq="MS").strftime(dates), **columns}
        path = tmp_path / "table.csv"
        pd.DataFrame(frame).to_csv(path, sep=sep, index=False)
        return read_table(path, **options)

    return run


def said(table: Table, words: str) -> list[str]:
    return [note for note in table.notes if words in note]


@pytest.mark.parametrize(
    ("cells", "sep", "expected", "decimal"),
    [
        (["987", "1.004", "1.130", "994", "1.081"], ";", [987, 1004, 1130, 994, 1081], ","),
        (["1,004", "994", "987", "1,130"], ";", [1004, 994, 987, 1130], "."),
        (["1,004", "994", "987", "1,130"], ",", [1004, 994, 987, 1130], "."),
        (["5", "12", "1.004", "23.310", "-80"], ";", [5, 12, 1004, 23310, -80], ","),
        (["-987", "-1.004", "-1.130"], ";", [-987, -1004, -1130], ","),
        (["987 €", "1.004 €", "1.130 €"], ";", [987, 1004, 1130], ","),
        (["1.234.567", "5.019", "7.200"], ";", [1234567, 5019, 7200], ","),
        ([f"{5 + i}.{100 + i}" for i in range(40)] + ["8"], ";", [5100 + 1001 * i for i in range(40)] + [8], ","),
    ],
)
def test_thousands_by_the_numbers_of_their_column(read: Read, cells, sep, expected, decimal):
    table = read({"Umsatz": cells}, sep)
    assert table.values["Umsatz"].tolist() == expected
    assert table.layout.decimal == decimal
    assert said(table, "read as thousands")
    assert not said(table, "nothing in the table")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["5.019", "4.873", "12.100", "0.998"], [5.019, 4.873, 12.1, 0.998]),
        (["987", "1.004", "12.5"], [987, 1.004, 12.5]),
        (["1,004", "1,130", "0,987"], [1.004, 1.13, 0.987]),
        (["1.004", "1234.567", "2.000"], [1.004, 1234.567, 2]),
        (["1.004E+02", "5.019", "987"], [100.4, 5.019, 987]),
    ],
)
def test_decimals_by_the_numbers_of_their_column(read: Read, cells, expected):
    table = read({"Umsatz": cells})
    assert table.values["Umsatz"].tolist() == expected
    assert not said(table, "Umsatz")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.234", "2.345", "3", "4.567"], [1.234, 2.345, 3, 4.567]),  # a whole number among its like
        (["21.345", "-999", "22.100", "-999", "-999", "20.907"], [21.345, np.nan, 22.1, np.nan, np.nan, 20.907]),
        (["21.345", "999", "22.100", "0", "20.907"], [21.345, 999, 22.1, 0, 20.907]),
    ],
)
def test_whole_numbers_that_are_no_evidence_of_thousands(read: Read, cells, expected):
    table = read({"x": cells})
    np.testing.assert_array_equal(table.values["x"], expected)
    assert said(table, "nothing in the table")


@pytest.mark.parametrize(
    ("cell", "sep", "value", "way", "other"),
    [
        ("5.019", ";", 5.019, "decimal numbers (5.019)", "thousands"),
        ("5.019", ",", 5.019, "decimal numbers (5.019)", "thousands"),
        ("5,019", ";", 5.019, "decimal numbers (5.019)", "thousands"),
        ("5,019", ",", 5019, "thousands (5019)", "decimal numbers"),
    ],
)
def test_what_nothing_decides_is_said(read: Read, cell, sep, value, way, other):
    table = read({"Umsatz": [cell, cell[:-1] + "1", cell[:-1] + "4"]}, sep)
    assert table.values["Umsatz"].iloc[0] == value
    assert table.notes == (
        f"column 'Umsatz': {cell!r} and the like are read as {way}; nothing in the table says that they are not "
        f"{other}",
    )


@pytest.mark.parametrize("other", ["100,4", "1.100,40", "1.100.400", "1,004E+05"])
def test_other_columns_decide(read: Read, other):
    table = read({"Preis": [other] * 3, "Stück": ["5.019", "5.144", "5.405"]})
    assert table.values["Stück"].tolist() == [5019, 5144, 5405]
    assert not said(table, "nothing in the table")
    assert said(table, "'Stück': '5.019' and the like are read as thousands")


def test_thousands_of_one_column_tell_of_another(read: Read):
    table = read({"a": ["987", "1.004", "1.130"], "b": ["5.019", "5.144", "5.405"]})
    assert table.values["b"].tolist() == [5019, 5144, 5405]


def test_marks_of_missing_values_say_nothing(read: Read):
    table = read({"x": ["1.004", "7777", "1.130", "5.5"], "y": ["100,4", "100,5", "1,5", "2"]}, missing=["5.5", 7777])
    np.testing.assert_array_equal(table.values["x"], [1004, np.nan, 1130, np.nan])


@pytest.mark.parametrize("dates", ["%m.%Y", "%Y.%m"])
def test_dates_have_no_say_in_the_decimal_sign(read: Read, dates):
    cells = [f"{100 + i},4" for i in range(14)]
    table = read({"Umsatz": ["100,4"] * 14, "Stück": [f"5.{100 + i}" for i in range(14)]}, dates=dates)
    assert table.layout.decimal == ","
    assert table.values["Stück"].tolist() == [5100 + i for i in range(14)]
    assert read({"Umsatz": cells}, dates=dates).layout.decimal == ","


def test_clocks_and_names_have_no_say_in_the_decimal_sign(tmp_path: Path):
    hours = pd.date_range("2024-01-01", periods=48, freq="h")
    clocks = [f"{h:%d.%m.%Y};{h:%H.%M};100,4;5.{100 + i}" for i, h in enumerate(hours)]
    path = tmp_path / "clocks.csv"
    path.write_text("\n".join(["Datum;Uhrzeit;Last;Stück", *clocks]) + "\n")
    table = read_table(path)
    assert table.layout.time_column == "Uhrzeit"
    assert table.values["Stück"].tolist() == [5100 + i for i in range(48)]
    rows = [f"{n}.{n};{h:%d.%m.%Y %H:%M};100,4;5.{100 + i}" for n in (1, 2, 3) for i, h in enumerate(hours)]
    path.write_text("\n".join(["id;Datum;Last;Stück", *rows]) + "\n")
    table = read_table(path, target=["Last", "Stück"])
    assert table.values["Stück"].tolist() == [5100 + i for i in range(48)] * 3


@pytest.mark.parametrize("space", [" ", "\u00a0", "\u2009", "\u202f", "'", "\u2019"])
@pytest.mark.parametrize("decimal", [",", "."])
def test_spaces_and_apostrophes_between_thousands_without_a_smaller_number(read: Read, space, decimal):
    table = read(
        {"Ventes": [f"5{space}018{decimal}86", f"1{space}234{space}567{decimal}125", f"-9{space}999{decimal}0"]}
    )
    assert table.values["Ventes"].tolist() == [5018.86, 1234567.125, -9999]
    assert table.layout.decimal == decimal


@pytest.mark.parametrize(
    ("cells", "expected", "example"),
    [
        (["0,38", "2,39-", "1.204,10-", "5"], [0.38, -2.39, -1204.1, 5], "2,39-"),
        (["$0.38", "-$4.10", "$1,204.10"], [0.38, -4.1, 1204.1], "-$4.10"),
        (["US$0.38", "US$-4.10", "US$5"], [0.38, -4.1, 5], "US$-4.10"),
        (["0.38", "(2.39)", "(1,204.10)", "5.00"], [0.38, -2.39, -1204.1, 5], "(2.39)"),
        (["$0.38", "($2.39)", "$(2.40)"], [0.38, -2.39, -2.4], "($2.39)"),
        (["0,38 €", "2,39- €", "2,40 €-"], [0.38, -2.39, -2.4], "2,39- €"),
        (["0,38", "\u2212 2,39", "2,40\u2212"], [0.38, -2.39, -2.4], "2,40\u2212"),
        (["987", "1.004-", "994-"], [987, -1004, -994], "1.004-"),
    ],
)
def test_negative_numbers_with_the_minus_elsewhere(read: Read, cells, expected, example):
    table = read({"Saldo": cells})
    assert table.values["Saldo"].tolist() == expected
    assert said(table, f"column 'Saldo': {example!r} and the like are read as negative numbers")


@pytest.mark.parametrize("cell", ["(2.39", "2.39)", "-2.39-", "(-2.39)", "--2.39", "-(2.39)", "2.39-4"])
def test_half_a_bracket_and_a_double_minus_are_no_numbers(read: Read, cell):
    with pytest.raises(UserError) as caught:
        read({"Saldo": ["0.38", "5.12", cell, "7.25"]})
    assert f"{cell!r} in line 4" in str(caught.value)


@pytest.mark.parametrize("cells", [["0,38", "abc", "2,40", "def"], ["$0.38", "abc", "$4.10", "def"]])
def test_the_cell_that_is_named_is_the_bad_one(read: Read, cells):
    with pytest.raises(UserError, match="'abc' in line 3, line 5"):
        read({"Saldo": cells})


def test_a_doubtful_cell_with_a_unit_of_its_own_is_bad(read: Read):
    with pytest.raises(UserError, match=r"'5\.019 €' in line 3"):
        read({"Umsatz": ["5.020", "5.019 €", "5.021", "5.022"]})


def test_absurd_exponents(read: Read):
    table = read({"x": ["1e-" + "9" * 400, "2e-5000", "0.0"]})
    assert table.values["x"].tolist() == [0, 0, 0]


def test_exponents_put_the_sign_beyond_doubt(read: Read):
    table = read({"x": ["1,004E+05", "1,029E+05", "1,081e-02"], "y": ["5.019", "5.144", "5.405"]})
    assert table.values["x"].tolist() == [100400, 102900, 0.01081]
    assert table.values["y"].tolist() == [5019, 5144, 5405]


@pytest.mark.parametrize(
    ("cells", "sep", "written"),
    [
        (["1.004e-05", "1.029e-05", "1.081e-05"], ",", "0.00001004"),
        (["1,004E-05", "1,029E-05", "1,081E-05"], ";", "0,00001004"),
        (["0.00001004", "1e-05", "1.081e-05"], ",", "0.00001004"),
        (["1e-300", "2e-300", "3e-300"], ",", "1e-300"),
        (["1,004e-300", "1,029e-300", "1,081e-300"], ";", "1,004e-300"),
        (["1.004e+05", "1.029e+05", "1.081e+05"], ",", "100400.00"),
        (["12.125%", "12.250%", "12.375%"], ",", "12.125"),
        (["(2.125)", "2.250", "(2.375)"], ",", "-2.125"),
    ],
)
def test_forecasts_have_the_digits_of_the_input(read: Read, tmp_path: Path, cells, sep, written):
    table = read({"x": cells}, sep)
    write_table(tmp_path / "out.csv", table.values, table.layout)
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == f"01.01.2024{sep}{written}"


def test_small_numbers_of_a_frame_are_written_and_read_again(tmp_path: Path):
    days = pd.date_range("2024-01-01", periods=6, freq="D")
    frame = pd.DataFrame({"x": [1.25e-30, 2.5e-30, 0.0, np.nan, 5e-32, 1.5e-30]}, index=days)
    table = from_frame(frame)
    write_table(tmp_path / "out.csv", table.values, table.layout)
    again = pd.read_csv(tmp_path / "out.csv")["x"].to_numpy()
    np.testing.assert_allclose(again[[0, 1, 2, 5]], [1.2e-30, 2.5e-30, 0, 1.5e-30], rtol=0.05)
