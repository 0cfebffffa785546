from __future__ import annotations

import pandas as pd
import pytest

from gated.errors import UserError
from tasks.timeseries.reading import from_frame


def dated(read, dates, name="date", **options):
    return read([f"{name};x", *(f"{d};{i}" for i, d in enumerate(dates))], **options)


@pytest.mark.parametrize(
    ("form", "freq"),
    [
        ("%Y-%m-%dT%H:%M:%SZ", "h"),
        ("%Y-%m-%d %H:%M:%S.%f", "s"),
        ("%d.%m.%Y, %H:%M", "30min"),
        ("%m/%d/%Y %I:%M %p", "h"),
        ("%d/%m/%Y %H.%M.%S", "h"),
        ("%d %B %Y", "D"),
        ("%b-%y", "MS"),
        ("%Y%m", "MS"),
        ("%d-%m-%y", "W-SAT"),
        ("%Y-%m-%d", "ME"),
        ("%Y-%m-%d", "BME"),
        ("%Y-%m-%d", "2W-SUN"),
        ("%Y-%m-%d", "YE-DEC"),
    ],
)
def test_forms_come_back_as_they_were(read, form, freq):
    dates = pd.date_range("2023-11-20", periods=40, freq=freq)
    table = dated(read, dates.strftime(form))
    assert table.frequency == freq
    assert table.layout.date_format.write(table.values.index) == list(dates.strftime(form))
    ahead = pd.date_range(dates[-1], periods=4, freq=freq)[1:]
    assert table.layout.date_format.write(table.future_dates(3)) == list(ahead.strftime(form))


@pytest.mark.parametrize(
    ("cells", "ahead"),
    [
        ([f"{y}Q{q}" for y in (2020, 2021, 2022) for q in (1, 2, 3, 4)], "2023Q1"),
        ([f"Q{q} {y}" for y in (2020, 2021, 2022) for q in (1, 2, 3, 4)], "Q1 2023"),
        ([f"2024-W{w:02}" for w in range(1, 20)], "2024-W20"),
        ([f"{d}/1/2024 {h}:05" for d in (13, 14) for h in range(24)], "15/1/2024 0:05"),
        ([str(1700000000 + 900 * i) for i in range(12)], str(1700000000 + 900 * 12)),
        ([str(y) for y in range(1990, 2010)], "2010"),
    ],
)
def test_more_forms(read, cells, ahead):
    table = dated(read, cells)
    assert len(table.values) == len(cells)
    assert table.layout.date_format.write(table.values.index) == cells
    assert table.layout.date_format.write(table.future_dates(1)) == [ahead]


def test_one_offset_is_kept(read):
    dates = [f"2024-05-{d:02}T00:00:00+05:30" for d in range(1, 20)]
    table = dated(read, dates)
    assert table.frequency == "D"
    assert str(table.values.index.tz) == "UTC+05:30"
    assert table.layout.date_format.write(table.values.index) == dates


def test_offsets_that_change_with_the_clock_are_one_axis(read):
    hours = pd.date_range("2024-03-30", "2024-04-02", freq="h", tz="Europe/Berlin")
    text = [hour.isoformat(sep=" ") for hour in hours]
    table = dated(read, text)
    assert table.frequency == "h"
    assert (table.values.index == hours).all()
    assert table.notes == ("column 'date': its offsets are those of Europe/Berlin",)
    assert table.layout.date_format.write(table.values.index) == text


def test_offsets_that_no_zone_explains_are_utc(read):
    hours = pd.date_range("2024-05-01", periods=20, freq="h", tz="UTC")
    text = [hour.tz_convert("Asia/Tokyo" if hour.hour % 5 else "Asia/Kolkata").isoformat() for hour in hours]
    table = dated(read, text)
    assert (table.values.index == hours).all()
    assert table.layout.date_format.write(table.values.index[:1]) == ["2024-05-01T00:00:00+00:00"]
    assert "UTC" in table.notes[0]


def test_local_days_with_offsets_that_change(read):
    days = pd.date_range("2024-03-20", periods=30, freq="D", tz="America/New_York")
    days = days.union(pd.date_range("2024-02-20", "2024-03-19", freq="D", tz="America/New_York"))
    table = dated(read, [day.isoformat() for day in days])
    assert table.frequency == "D"
    assert table.layout.date_format.write(table.values.index) == [day.isoformat() for day in days]


def test_day_and_month_by_the_whole_column(read):
    dates = pd.date_range("2024-01-05", periods=60)
    for form in ("%d/%m/%Y", "%m/%d/%Y"):
        table = dated(read, dates.strftime(form))
        assert (table.values.index == dates).all()


def test_day_and_month_by_even_spacing_when_both_can_be_read(read):
    dates = pd.to_datetime(["2024-03-04", "2024-03-05", "2024-03-06", "2024-03-07", "2024-03-08", "2024-03-11"])
    table = dated(read, dates.strftime("%m-%d-%Y"))
    assert table.values.index[1] == dates[1]


def test_day_and_month_that_nobody_can_tell_are_asked_for(read):
    dates = pd.date_range("2024-01-01", periods=12).strftime("%d/%m/%Y")  # or the first of twelve months
    with pytest.raises(UserError, match="--day-first"):
        dated(read, dates)
    assert dated(read, dates, day_first=True).frequency == "D"
    assert dated(read, dates, day_first=False).frequency == "MS"


def test_midnight_without_its_time(read):
    hours = pd.date_range("2024-01-20", periods=60, freq="h")
    text = [str(hour.date()) if hour.hour == 0 else str(hour) for hour in hours]
    table = dated(read, text)
    assert (table.values.index == hours).all()
    assert "midnight" in table.notes[0]


@pytest.mark.parametrize(("name", "step"), [("t", 1), ("step", 5), ("date", 10), ("index", 1), ("ds", 3)])
def test_axis_of_integers(read, name, step):
    """thuml/iTransformer#22: no dates at all."""
    cells = [7 + step * i for i in range(20) if i != 4]
    table = dated(read, cells, name)
    assert table.frequency == step
    assert table.values.index.tolist() == [7 + step * i for i in range(20)]
    assert table.values["x"].isna().sum() == 1
    assert table.future_dates(2).tolist() == [7 + step * 20, 7 + step * 21]
    assert table.layout.date_format.write(table.future_dates(1)) == [str(7 + step * 20)]


def test_integers_by_option(read):
    lines = ["minute,x", *(f"{i},{i}" for i in range(30))]
    with pytest.raises(UserError, match="no date column"):
        read([line.replace("minute", "a") for line in lines])
    assert read(lines, date_column="minute").frequency == 1


def test_frequency_by_option(read):
    dates = pd.date_range("2024-01-02", periods=10, freq="14D").strftime("%Y-%m-%d")
    assert dated(read, dates).frequency == "2W-TUE"
    weekly = dated(read, dates, frequency="W")
    assert weekly.frequency == "W-TUE"
    assert len(weekly.values) == 19
    with pytest.raises(UserError, match="unknown frequency 'fortnight'"):
        dated(read, dates, frequency="fortnight")
    with pytest.raises(UserError, match="lies between two steps"):
        dated(read, dates, frequency="MS")
    assert dated(read, dates[:2], frequency="W").values.shape == (3, 1)


def test_dates_between_the_steps_are_named(read, days):
    """Nixtla/neuralforecast#718: said at once and with the place, not after a fit."""
    dates = days(20)
    dates[11] = "2024-02-09 07:30"
    with pytest.raises(UserError, match=r"2024-02-09.* in line 13 lies between two steps"):
        dated(read, [d if ":" in d else f"{d} 00:00" for d in dates])


def test_frames_keep_zone_and_resolution():
    hours = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Paris", name="when")
    table = from_frame(pd.DataFrame({"x": range(60)}, index=hours))
    assert table.values.index.equals(hours)
    assert table.future_dates(1)[0] == hours[-1] + pd.Timedelta("1h")
    coarse = from_frame(pd.DataFrame({"day": pd.date_range("2024", periods=9).as_unit("s"), "x": range(9)}))
    assert coarse.values.index.unit == "s"
