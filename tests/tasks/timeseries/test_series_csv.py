from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gated.errors import UserError
from tasks.timeseries.dates import season_of
from tasks.timeseries.reading import from_frame, read_table, write_table


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def daily(
    rows: int = 8, *, fmt: str = "%Y-%m-%d", freq: str = "D", header: str = "date,a,b", sep: str = ","
) -> list[str]:
    dates = pd.date_range("2024-01-29", periods=rows, freq=freq).strftime(fmt)
    return [header] + [sep.join([date, str(i), f"{i}{'.' if sep == ',' else ','}5"]) for i, date in enumerate(dates)]


def test_plain_csv(tmp_path):
    table = read_table(written(tmp_path, "\n".join(daily())))
    assert table.columns == ["a", "b"]
    assert table.frequency == "D"
    assert table.values["b"].tolist() == [i + 0.5 for i in range(8)]
    assert table.future_dates(2).strftime("%Y-%m-%d").tolist() == ["2024-02-06", "2024-02-07"]


@pytest.mark.parametrize(
    ("fmt", "freq", "season"),
    [
        ("%Y-%m-%d", "W-TUE", 52),
        ("%d.%m.%Y", "D", 7),
        ("%m/%d/%Y", "D", 7),
        ("%d/%m/%y", "D", 7),
        ("%Y-%m", "MS", 12),
        ("%b %Y", "MS", 12),
        ("%Y", "YS-JAN", 1),
        ("%Y%m%d", "B", 5),
        ("%Y-%m-%d %H:%M:%S", "h", 24),
        ("%d.%m.%Y %H:%M", "15min", 96),
        ("%Y-%m-%dT%H:%M", "6h", 4),
        ("%Y-%m-%d", "QS-JAN", 4),
    ],
)
@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_layout_survives_the_round_trip(tmp_path, fmt, freq, season, sep):
    header = sep.join(["wie viel, %", "date", "b"])
    rows = [sep.join(cells) for cells in (line.split(sep) for line in daily(40, fmt=fmt, freq=freq, sep=sep)[1:])]
    rows = [sep.join([cells[2], cells[0], cells[1]]) for cells in (row.split(sep) for row in rows)]
    header = header if sep != "," else '"wie viel, %",date,b'
    table = read_table(written(tmp_path, "\n".join([header, *rows]) + "\n"))
    assert table.frequency == freq
    assert season_of(table.frequency) == season
    write_table(tmp_path / "again.csv", table.values, table.layout)
    again = (tmp_path / "again.csv").read_text().splitlines()
    assert again[0] == header
    assert [line.split(sep)[1] for line in again[1:]] == [row.split(sep)[1] for row in rows]
    decimal = "." if sep == "," else ","
    assert again[3] == sep.join([f"2{decimal}50", rows[2].split(sep)[1], f"2{decimal}00"])
    pd.testing.assert_frame_equal(read_table(tmp_path / "again.csv").values, table.values)


def test_dates_without_leading_zeros_are_written_back_alike(tmp_path):
    dates = [f"{d.day}/{d.month}/20" for d in pd.date_range("2020-01-07", periods=30)]
    table = read_table(written(tmp_path, "\n".join(["when,x", *(f"{d},1" for d in dates)])))
    assert table.frequency == "D"
    assert table.layout.date_format.write(table.values.index) == dates


def test_byte_order_mark_blank_lines_and_windows_line_ends(tmp_path):
    lines = daily()
    text = b"\xef\xbb\xbf" + "\r\n".join([*lines[:3], "", *lines[3:], ""]).encode()
    table = read_table(written(tmp_path, text))
    assert table.layout.date_column == "date"
    assert len(table.values) == 8


def test_quoted_cells_may_hold_delimiters_and_line_breaks(tmp_path):
    rows = [line + ',"a, b\nc"' for line in daily()[1:]]
    table = read_table(written(tmp_path, "\n".join(["date,a,b,note", *rows])), target=["a"])
    assert table.values["a"].tolist() == list(range(8))


def test_missing_values_stay_missing_and_are_told(tmp_path):
    lines = daily(10)
    for row in (4, 5):
        lines[row] = lines[row].split(",")[0] + ",NA," + lines[row].split(",")[2]
    table = read_table(written(tmp_path, "\n".join(lines)))
    assert np.isnan(table.values["a"]).tolist() == [3 <= i <= 4 for i in range(10)]
    assert table.notes == ("column 'a': 2 missing value(s) (2024-02-01, 2024-02-02)",)


def shifted(change) -> str:
    lines = daily()
    change(lines)
    return "\n".join(lines)


BAD = {
    "empty": ("", "is empty"),
    "only blank": (" \n\n", "is empty"),
    "header only": ("date,a\n", "no rows"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0\xff\xfe" * 20, "not a CSV"),
    "prose": ("Dear Sir\nor Madam\n", "not a CSV with several columns"),
    "no date": ("a,b\n1,2\n3,4\n5,6\n", "no date column found"),
    "ragged": ("date,a\n2024-01-01,1\n2024-01-02,1,7\n", r"differ in length[\s\S]*line 3 has 3"),
    "same name": ("date,a,a\n2024-01-01,1,2\n", "two columns of one name"),
    "text column": (
        shifted(lambda t: t.__setitem__(slice(None), [f"{x.split(',')[0]},red" for x in t])),
        r"'red' does not hold numbers[\s\S]*'red' in line 2[\s\S]*--target",
    ),
    "one bad cell": (
        shifted(lambda t: t.__setitem__(4, t[4].replace(",3,", ",x3,"))),
        r"'a' has a cell that is not a number[\s\S]*'x3' in line 5[\s\S]*--missing 'x3'",
    ),
    "infinite": (shifted(lambda t: t.__setitem__(4, t[4].replace(",3,", ",1e999,"))), r"too large[\s\S]*line 5"),
    "only dates": (
        "date,when\n2024-01-01,2024-01-01\n2024-01-02,2024-01-02\n2024-01-03,2024-01-03\n",
        "aren't numbers|holds text",
    ),
    "bad date": (shifted(lambda t: t.__setitem__(4, "soon,1,2")), r"can't be read[\s\S]*'soon' in line 5"),
    "uneven": (
        "date,a\n2024-01-01,1\n2024-01-02,1\n2024-01-05,1\n2024-01-17,1\n2024-03-17,1\n",
        "evenly spaced|missing",
    ),
    "two rows": ("date,a\n2024-01-01,1\n2024-01-02,1\n", "at least 3 dates"),
    "date missing": (shifted(lambda t: t.__setitem__(4, ",1,2")), r"'date': a date is missing[\s\S]*line 5"),
    "no header": ("2024-01-01,1\n2024-01-02,2\n2024-01-03,2\n", r"no header[\s\S]*'2024-01-01'"),
    "lines above the header": ("Report of May\n\ndate,a\n2024-05-01,1\n2024-05-02,2\n2024-05-03,2\n", "not a header"),
    "comment above the header": ("# by the logger\ndate,a\n2024-05-01,1\n2024-05-02,2\n", "line 1 is not a header"),
    "quote not closed": (shifted(lambda t: t.__setitem__(4, '2024-02-01,"3,2')), "can't be split"),
    "no value": (
        shifted(lambda t: t.__setitem__(slice(1, None), [f"{x[:10]},," for x in t[1:]])),
        "no column holds num",
    ),
    "far date": (shifted(lambda t: t.__setitem__(8, t[8].replace("2024", "2042"))), r"rows are missing[\s\S]*line 9"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_csv_gets_one_message_that_names_the_place(tmp_path, case):
    text, message = BAD[case]
    with pytest.raises(UserError, match=message):
        read_table(written(tmp_path, text))


def test_missing_business_day_is_not_taken_for_a_week_end(tmp_path):
    days = list(pd.date_range("2024-01-01", periods=40, freq="B").strftime("%Y-%m-%d"))
    del days[17]
    table = read_table(written(tmp_path, "\n".join(["date,x", *(f"{d},{i}" for i, d in enumerate(days))])))
    assert table.frequency == "B"
    assert table.values.index[table.values["x"].isna()].strftime("%Y-%m-%d").tolist() == ["2024-01-24"]
    assert "1 missing row(s) added without values (2024-01-24)" in table.notes[0]


def test_monthly_gap_is_named_by_month(tmp_path):
    months = list(pd.date_range("2022-01-01", periods=24, freq="MS").strftime("%Y-%m"))
    del months[13]
    table = read_table(written(tmp_path, "\n".join(["date,x", *(f"{m},{i}" for i, m in enumerate(months))])))
    assert "(2023-02)" in table.notes[0]
    assert len(table.values) == 24


def test_wrong_names_are_met_with_near_misses(tmp_path, sales_csv):
    with pytest.raises(UserError, match=r"no column 'dya'[\s\S]*did you mean 'day'"):
        read_table(sales_csv, date_column="dya")
    with pytest.raises(UserError, match=r"no column 'solt'[\s\S]*did you mean 'sold'"):
        read_table(sales_csv, target=["solt"])
    with pytest.raises(UserError, match="'sold' does not hold dates"):
        read_table(sales_csv, date_column="sold")
    with pytest.raises(UserError, match="not found"):
        read_table(tmp_path / "nope.csv")
    with pytest.raises(UserError, match="is a folder"):
        read_table(tmp_path)


def test_target_leaves_text_columns_aside(tmp_path):
    lines = [f"{line},{'note' if i == 0 else 'hello'}" for i, line in enumerate(daily())]
    table = read_table(written(tmp_path, "\n".join(lines)), target="b")
    assert table.columns == ["b"]
    assert table.layout.columns == ("date", "b")


def test_frame_with_column_or_index_of_dates(sales):
    by_column, by_index = from_frame(sales), from_frame(sales.set_index("day"))
    np.testing.assert_array_equal(by_column.values.to_numpy(), by_index.values.to_numpy())
    assert by_column.frequency == by_index.frequency == "D"
    assert (by_column.layout.date_column, by_index.layout.date_column) == ("day", None)


def test_frame_errors(sales):
    with pytest.raises(UserError, match="DataFrame"):
        from_frame(sales.to_numpy())
    with pytest.raises(UserError, match="empty"):
        from_frame(sales.iloc[:0])
    with pytest.raises(UserError, match="'shop' does not hold numbers"):
        from_frame(sales.assign(shop="north"), target="shop")
    with pytest.raises(UserError, match="row 7"):
        from_frame(sales.assign(day=sales["day"].where(sales.index != 7)))
    with pytest.raises(UserError, match=r"too large[\s\S]*row 9"):
        from_frame(sales.assign(sold=sales["sold"].where(sales.index != 9, np.inf)))
