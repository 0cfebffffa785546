from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gated.errors import UserError


def hourly(start: str, stop: str, zone: str = "Europe/Berlin") -> list[str]:
    """Naive local time, as a meter writes it."""
    hours = pd.date_range(start, stop, freq="h", tz=zone)
    return list(hours.tz_localize(None).strftime("%d.%m.%Y %H:%M"))


def test_missing_rows_are_added_and_named(read, days):
    """darts#2368, autogluon#2128: gaps are no error."""
    lines = ["date,x", *(f"{d},{i}" for i, d in enumerate(days(40)))]
    del lines[20:23]
    table = read(lines)
    assert len(table.values) == 40
    assert np.flatnonzero(table.values["x"].isna()).tolist() == [19, 20, 21]
    assert table.notes == ("3 missing row(s) added without values (2024-02-17, 2024-02-18, 2024-02-19)",)


def test_holidays_of_an_exchange_are_gaps_of_business_days(read):
    """Nixtla/neuralforecast#979."""
    days = pd.date_range("2023-01-02", periods=250, freq="B").drop(["2023-05-29", "2023-07-04", "2023-09-04"])
    table = read(["Date,Close", *(f"{d:%Y-%m-%d},{i}" for i, d in enumerate(days))])
    assert table.frequency == "B"
    assert len(table.values) == 250


def test_more_missing_than_there_is_asks_for_the_frequency(read):
    dates = [d for month in range(1, 9) for d in pd.date_range(f"2024-{month:02}-01", periods=4)]
    with pytest.raises(UserError, match=r"rows are missing, more than there are[\s\S]*--frequency"):
        read(["date,x", *(f"{d:%Y-%m-%d},{i}" for i, d in enumerate(dates))])


def test_unsorted_and_repeated_rows(read, days):
    """darts#1205, #128."""
    lines = [f"{d},{i}" for i, d in enumerate(days(12))]
    table = read(["date,x", *lines[6:], *lines[:6], lines[3], f"{days(12)[8]},10"])
    assert table.values["x"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 9, 10, 11]
    notes = " ".join(table.notes)
    assert "sorted" in notes
    assert "1 row(s) that repeat another left out (line 14)" in notes
    assert "1 date(s) with several different rows averaged (line 15)" in notes


def test_daylight_saving_of_naive_local_time(read):
    """darts#1052: an hour twice in autumn, an hour missing in spring."""
    dates = hourly("2023-10-20", "2024-04-05")
    table = read(["zeit;last", *(f"{d};{i}" for i, d in enumerate(dates))])
    assert table.frequency == "h"
    assert table.values.index.tz is None
    assert len(table.values) == len(set(dates)) + 1
    autumn = [i for i, d in enumerate(dates) if d == "29.10.2023 02:00"]
    assert len(autumn) == 2
    assert table.values.loc["2023-10-29 02:00", "last"] == np.mean(autumn)
    assert np.isnan(table.values.loc["2024-03-31 02:00", "last"])
    (note,) = [note for note in table.notes if note.startswith("daylight saving")]
    assert "1 of the doubled and 1 of the missing" in note


def test_gaps_elsewhere_are_not_called_daylight_saving(read):
    dates = pd.date_range("2024-03-29", periods=72, freq="h").delete([5, 20])
    table = read(["date,x", *(f"{d:%Y-%m-%d %H:%M},{i}" for i, d in enumerate(dates))])
    assert not any("daylight" in note for note in table.notes)


def test_leading_and_trailing_holes_of_single_series_stay(read, days):
    lines = ["date,x,y", *(f"{d},{i if i > 2 else ''},{i if i < 7 else ''}" for i, d in enumerate(days()))]
    table = read(lines)
    assert len(table.values) == 10
    assert table.values["x"].isna().sum() == 3
    assert table.values["y"].isna().sum() == 3


def test_many_holes_are_told_in_one_sentence(read, days):
    names = [f"x{i}" for i in range(9)]
    lines = [
        "date," + ",".join(names),
        *(f"{d}," + ",".join("" if i == 3 + p % 3 else "1" for p in range(9)) + "" for i, d in enumerate(days())),
    ]
    assert "9 missing values in 9 columns" in read(lines).notes
