"""Dates as other programs write them: each comes back as it was, and the forecast goes on from there."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gated
from gated.errors import UserError
from tasks.timeseries.reading import from_frame, read_table, write_table
from tasks.timeseries.table import Table


@pytest.fixture
def dated(tmp_path: Path):
    """Read a file of these dates."""

    def run(cells, **options) -> Table:
        path = tmp_path / "table.csv"
        path.write_text("date;x\n" + "".join(f"{cell};{row}\n" for row, cell in enumerate(cells)))
        return read_table(path, **options)

    return run


def written(table: Table, steps: int) -> list[str]:
    return table.layout.date_format.write(table.future_dates(steps))


def stamps(start: str, periods: int, freq: str, form: str, **options) -> list[str]:
    return list(pd.date_range(start, periods=periods, freq=freq, **options).strftime(form))


def weeks(start: str, periods: int, form: str = "%G%V") -> list[str]:
    return stamps(start, periods, "W-MON", form)


def check(table: Table, cells: list[str], known: int, frequency: str) -> None:
    """Whether the first ``known`` dates were read, and the others follow."""
    assert table.frequency == frequency
    assert table.layout.date_format.write(table.values.index) == cells[:known]
    assert written(table, len(cells) - known) == cells[known:]


@pytest.mark.parametrize(
    ("form", "freq"), [("%Y%m%d%H", "D"), ("%Y%m%d%H", "h"), ("%Y%m%d%H%M", "30min"), ("%Y%m%d%H%M%S", "10min")]
)
def test_dates_and_times_without_any_sign(dated, form, freq):
    cells = stamps("2024-01-01", 64, freq, form)
    check(dated(cells[:60]), cells, 60, freq)


@pytest.mark.parametrize(("start", "step"), [(1704067200, 3600), (1500000000, 1), (1704010200, 1), (2000000000, 3600)])
def test_seconds_are_not_taken_for_dates(dated, start, step):
    table = dated([start + step * row for row in range(40)])
    assert table.notes[0] == "column 'date': seconds since 1970"
    assert written(table, 1) == [str(start + step * 40)]


@pytest.mark.parametrize(
    ("start", "known"), [("2024-01-01", 50), ("2024-01-01", 13), ("2019-06-03", 80), ("2020-02-03", 46)]
)
@pytest.mark.parametrize("form", ["%G%V", "%G-%V"])
def test_weeks_that_are_written_like_months(dated, start, known, form):
    cells = weeks(start, known + 8, form)
    table = dated(cells[:known])
    check(table, cells, known, "W-MON")
    assert "calendar weeks" in table.notes[0]


def test_weeks_across_years_with_and_without_week_53(dated):
    assert written(dated(weeks("2024-01-01", 51)), 2) == ["202452", "202501"]
    assert written(dated(weeks("2020-01-06", 51)), 2) == ["202053", "202101"]


def test_weeks_with_a_gap(dated):
    cells = weeks("2023-06-05", 60)
    table = dated([cell for cell in cells if cell not in ("202340", "202401")])
    assert table.layout.date_format.write(table.values.index) == cells
    assert "2 missing row(s)" in " ".join(table.notes)


@pytest.mark.parametrize("form", ["%Y%m", "%Y-%m"])
def test_months_stay_months(dated, form):
    cells = stamps("2023-01-01", 14, "MS", form)
    check(dated(cells[:12]), cells, 12, "MS")
    with pytest.raises(UserError, match=f"{cells[0][:-2]}13' in line 4"):  # a slip, and no week
        dated([*cells[:2], cells[0][:-2] + "13", *cells[3:]])


def test_days_at_a_time_that_the_clock_change_leaves_out(dated):
    days = pd.date_range("2023-10-01 02:30", "2024-04-03 02:30")
    zoned = days.tz_localize("Europe/Berlin", ambiguous=np.ones(len(days), bool), nonexistent="shift_forward")
    cells = [day.isoformat() for day in zoned]
    for known in (len(cells) - 6, len(cells) - 3):  # the hour is left out in the forecast, in the last row but none
        check(dated(cells[:known]), cells, known, "D")
    assert "2024-03-31T03:00:00+02:00" in cells


@pytest.mark.parametrize(
    ("zone", "change", "moved"),
    [("America/Santiago", "2024-09-08", "2024-09-08 01:00"), ("Africa/Cairo", "2024-04-26", "2024-04-26 01:00")],
)
@pytest.mark.parametrize("row", [0, 30, 59, 60, 62])
def test_midnights_that_the_clock_change_leaves_out(zone, change, moved, row):
    days = pd.date_range(pd.Timestamp(change) - pd.Timedelta(row, "D"), periods=65)
    days = days.tz_localize(zone, nonexistent="shift_forward")
    assert days[row] == pd.Timestamp(moved, tz=zone)
    frame = pd.DataFrame({"y": np.arange(60.0)}, index=days[:60])
    table = from_frame(frame)
    assert table.values.index.equals(days[:60])
    assert list(gated.forecast(frame, 5, model="repeat-last").index) == list(days[60:])


def test_time_of_day_that_comes_twice():
    days = pd.date_range("2024-08-01 02:30", periods=86, tz="Europe/Berlin")
    ahead = gated.forecast(pd.DataFrame({"date": days, "y": np.arange(86.0)}), 4, model="repeat-last")
    assert ahead["date"][1] == pd.Timestamp("2024-10-27T02:30:00+02:00")
    assert set(ahead["date"].dt.strftime("%H:%M")) == {"02:30"}


def test_hours_follow_the_sun():
    hours = pd.date_range("2024-03-28", periods=90, freq="h", tz="Europe/Berlin")
    table = from_frame(pd.DataFrame({"date": hours[:70], "y": np.arange(70.0)}))
    assert list(table.future_dates(20)) == list(hours[70:])


def hourly(clock) -> pd.DataFrame:
    hours = pd.date_range("2024-01-01", periods=200, freq="h")
    return pd.DataFrame({"date": hours.normalize(), "time": clock(hours), "load": np.arange(200.0) % 24})


@pytest.mark.parametrize(
    "clock",
    [lambda h: h.strftime("%H:%M"), lambda h: [x.time() for x in h], lambda h: h.strftime("%I:%M %p")],
    ids=["text", "datetime.time", "half days"],
)
@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_timestamps_of_days_with_the_time_in_another_column(clock, zone):
    frame = hourly(clock)
    frame["date"] = frame["date"].dt.tz_localize(zone)
    table = from_frame(frame)
    assert table.frequency == "h"
    assert table.columns == ["load"]
    assert table.ids == ("",)
    assert table.values.index.equals(pd.date_range("2024-01-01", periods=200, freq="h", tz=zone, name="date"))
    assert "columns 'date' and 'time' are read together as date and time" in table.notes


def test_hours_as_numbers_beside_a_date():
    frame = hourly(lambda hours: hours.hour).rename(columns={"time": "hour"})
    assert from_frame(frame).frequency == "h"
    assert from_frame(frame.assign(date=frame["date"].dt.strftime("%d.%m.%Y"))).frequency == "h"


def test_a_series_of_days_keeps_its_other_times():
    """One row a day: a column of times is no part of the date."""
    frame = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=40), "time": [datetime.time(7)] * 40, "y": 1.5})
    assert from_frame(frame).frequency == "D"


@pytest.mark.parametrize("hour", [str, "{:02}".format])
@pytest.mark.parametrize("form", ["%Y-%m-%d", "%m/%d/%Y", "%Y%m%d"])
def test_hours_go_back_as_they_were(tmp_path, hour, form):
    hours = pd.date_range("2024-01-20", periods=65, freq="h")
    lines = [f"{time:{form}},{hour(time.hour)},{row}" for row, time in enumerate(hours)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["date,hour,load", *lines[:60]]) + "\n")
    table = read_table(path)
    ahead = pd.DataFrame({"load": np.arange(60.0, 65)}, index=table.future_dates(5))
    write_table(tmp_path / "out.csv", ahead, table.layout)
    assert [line.split(".")[0] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]] == lines[60:]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%d/%m/%Y %H:%M"])
def test_offsets_of_hours_alone(dated, zone, form):
    """As PostgreSQL writes them: minutes only where there are some."""
    hours = pd.date_range("2024-03-28 00:00:00.250", periods=96, freq="h", tz=zone)
    hours = hours if "%f" in form else hours.floor("s")
    cells = [f"{hour:{form}}{f'{hour:%z}'[:3]}{':30' if zone == 'Asia/Kolkata' else ''}" for hour in hours]
    table = dated(cells[:90])
    assert (table.values.index == hours[:90]).all()
    check(table, cells, 90, "h")


def test_midnight_without_time_and_offset_is_in_that_of_the_others(dated):
    hours = pd.date_range("2024-01-20", periods=60, freq="h", tz="Asia/Tokyo")
    table = dated([f"{hour:%d-%m-%Y}" if hour.hour == 0 else f"{hour:%d-%m-%Y %H:%M%z}" for hour in hours])
    assert (table.values.index == hours).all()


@pytest.mark.parametrize("sign", ["-", "/", "."])
@pytest.mark.parametrize(
    ("start", "periods", "freq"),
    [
        *(("2024-01-01", 31, "D"), ("2024-01-01", 400, "D"), ("2010-01-05", 8, "D"), ("2024-01-03", 60, "W-WED")),
        *(("2020-01-01", 60, "MS"), ("2024-01-01", 12, "MS"), ("2019-01-01", 60, "ME"), ("2024-01-01", 90, "B")),
    ],
)
def test_years_of_two_digits_first(dated, sign, start, periods, freq):
    cells = stamps(start, periods + 3, freq, f"%y{sign}%m{sign}%d")
    check(dated(cells[:periods]), cells, periods, freq)


@pytest.mark.parametrize("keep", [lambda row: True, lambda row: row % 4])
@pytest.mark.parametrize("form", ["%d-%m-%y", "%y-%m-%d"])
@pytest.mark.parametrize("periods", [31, 366])
def test_which_two_digits_are_the_year(dated, keep, form, periods):
    days = pd.date_range("2024-01-01", periods=periods)
    days = days[[bool(keep(row)) for row in range(periods)]]
    assert dated(days.strftime(form)).values.index[-1] == days[-1]


@pytest.mark.parametrize(
    ("form", "freq", "case"),
    [
        *(("%m/%d/%Y %I:%M %p", "h", str.lower), ("%m/%d/%Y %I:%M:%S%p", "h", str.lower)),
        *(("%b-%y", "MS", str.upper), ("%b %Y", "MS", str.lower), ("%d-%b-%y", "D", str.upper)),
        *(("%d %B %Y", "D", str.upper), ("%b-%y", "MS", str), ("%d-%b-%Y %I:%M %p", "h", str.upper)),
    ],
)
def test_case_is_kept(dated, form, freq, case):
    cells = [case(cell) for cell in stamps("2023-11-01", 64, freq, form)]
    check(dated(cells[:60]), cells, 60, freq)


def test_case_of_months_and_of_halves_is_kept_apart(dated):
    cells = [
        f"{hour:%d-%b-%Y}".upper() + f"{hour: %I:%M %p}".lower() for hour in pd.date_range("2024", periods=63, freq="h")
    ]
    check(dated(cells[:60]), cells, 60, "h")


def test_padding_is_kept(dated):
    hours = pd.date_range("2023-06-05", periods=64, freq="h")
    cells = [f"{hour.day}.{hour:%m.%Y} {hour.hour}:00" for hour in hours]
    check(dated(cells[:60]), cells, 60, "h")
    cells = [f"{week:%G-W}{int(f'{week:%V}')}" for week in pd.date_range("2023-06-05", periods=64, freq="W-MON")]
    check(dated(cells[:60]), cells, 60, "W-MON")


def test_padding_is_kept_where_midnights_have_no_time(dated):
    hours = pd.date_range("2023-06-05", periods=64, freq="h")
    cells = [f"{h.month}/{h.day}/{h.year}" + (f" {h.hour}:00" if h.hour else "") for h in hours]
    assert written(dated(cells[:60]), 4) == cells[60:]
