from __future__ import annotations

import pytest

from gated.errors import UserError


def test_encodings_are_read_and_kept(read, days):
    text = "\n".join(["Datum;Größe", *(f"{d};{i},5" for i, d in enumerate(days(form="%d.%m.%Y")))])
    for encoding, kept in (("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("cp1252", "cp1252")):
        table = read(text.encode(encoding))
        assert table.columns == ["Größe"]
        assert table.layout.encoding == kept
        assert any("Windows-1252" in note for note in table.notes) == (kept == "cp1252")
        assert table.values["Größe"].tolist() == [i + 0.5 for i in range(10)]


def test_trailing_delimiters_and_rows_of_delimiters_are_no_data(read):
    """The shape of the air quality file: a ragged header, decimal commas, empty rows at the end."""
    lines = ["Date;Time;CO(GT);T;;,,,,,"]
    lines += [
        f"{10 + h // 24}/03/2004;{h % 24:02}.00.00;2,{h % 10};{h};;" + (",,," if h % 7 == 1 else "") for h in range(40)
    ]
    table = read([*lines, *[";;;;;,,,,,"] * 9])
    assert table.columns == ["CO(GT)", "T"]
    assert len(table.values) == 40
    assert table.frequency == "h"
    assert table.values["CO(GT)"].iloc[3] == 2.3
    assert (table.layout.date_column, table.layout.time_column) == ("Date", "Time")


def test_column_without_a_name(read, days):
    lines = [",date,x", *(f"{i * i},{d},{i}" for i, d in enumerate(days()))]
    assert read(lines).columns == ["column 1", "x"]
    assert read(lines, target="x").columns == ["x"]
    assert read([line.split(",", 1)[1] + ",," for line in lines]).columns == ["x"]


def test_lines_are_counted_over_breaks_inside_cells_and_blank_lines(read, days):
    lines = ["date,x,note", *(f'{d},{i},"one\ntwo"' for i, d in enumerate(days()))]
    lines.insert(3, "")
    lines[6] = lines[6].replace(",4,", ",four,")
    with pytest.raises(UserError, match=r"'four' in line 12"):  # 1 + 1 blank + 5 rows of two lines
        read(lines)


def test_long_files_are_read_in_pieces_without_a_seam(read):
    import numpy as np
    import pandas as pd

    rows = 25_003
    values = np.random.default_rng(0).normal(size=rows).round(6).tolist()
    dates = pd.date_range("2020-01-01", periods=rows, freq="min").strftime("%Y-%m-%d %H:%M").tolist()
    lines = ["date,x,k", *(f"{d},{v!r},{i}" for i, (d, v) in enumerate(zip(dates, values, strict=True)))]
    lines[20_001] = lines[20_001].replace(f"{values[20_000]!r}", "")
    table = read(lines)
    assert table.frequency == "min"
    np.testing.assert_array_equal(np.delete(table.values["x"].to_numpy(), 20_000), np.delete(values, 20_000))
    assert np.isnan(table.values["x"].iloc[20_000])
    assert table.values["k"].tolist() == list(range(rows))
    lines[24_000] = lines[24_000].replace(f"{values[23_999]!r}", "broken")
    with pytest.raises(UserError, match=r"'broken' in line 24001"):
        read(lines)


def test_thousands_are_not_taken_for_decimals_in_long_files(read):
    import pandas as pd

    dates = pd.date_range("2020-01-01", periods=12_000, freq="h").strftime("%d.%m.%Y %H:%M")
    lines = ["date;x;y", *(f"{d};{1 + i // 1000}.{i % 1000:03};{i},5" for i, d in enumerate(dates))]
    table = read(lines)
    assert table.values["x"].tolist() == [1000 + i for i in range(12_000)]
