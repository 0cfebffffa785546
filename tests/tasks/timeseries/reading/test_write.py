from __future__ import annotations

import pandas as pd
import pytest

from tasks.timeseries.reading import write_table


def test_wide_forecast_with_intervals(read, days, tmp_path):
    lines = ["b;Tag;a", *(f"{i},125;{d};{i}" for i, d in enumerate(days(form="%d.%m.%Y")))]
    table = read(("\n".join(lines)).encode("utf-8-sig"))
    ahead = pd.DataFrame({"a": [1.0, 2.0], "a-lo-90": [0.5, float("nan")], "a-hi-90": [1.5, 2.5], "b": [3.14159, 2]})
    write_table(tmp_path / "out.csv", ahead.set_index(table.future_dates(2)), table.layout)
    raw = (tmp_path / "out.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.decode("utf-8-sig").splitlines() == [
        "b;Tag;a;a-lo-90;a-hi-90",
        "3,142;08.02.2024;1,00;0,50;1,50",
        "2,000;09.02.2024;2,00;;2,50",
    ]


def test_long_forecast(read, days, tmp_path):
    lines = ["ds,y,unique_id", *(f"{d},{i}.125,{name}" for name in ("n,1", "s") for i, d in enumerate(days()))]
    table = read([line.replace("n,1", '"n,1"') for line in lines])
    dates = table.future_dates(2)
    ahead = pd.DataFrame(
        {"unique_id": ["n,1"] * 2 + ["s"] * 2, "ds": dates.append(dates), "y": [1, 2, 3, 4.0], "y-lo-80": 0.5}
    )
    write_table(tmp_path / "out.csv", ahead, table.layout)
    assert (tmp_path / "out.csv").read_text().splitlines()[:3] == [
        "ds,y,y-lo-80,unique_id",
        '2024-02-08,1.000,0.500,"n,1"',
        '2024-02-09,2.000,0.500,"n,1"',
    ]


def test_columns_of_other_names_come_last_with_the_digits_of_the_target(read, days, tmp_path):
    table = read(["unique_id,ds,y", *(f"a,{d},{i}.125" for i, d in enumerate(days()))])
    ahead = pd.DataFrame({"ds": table.future_dates(1), "unique_id": "a", "Gateformer": 1.0, "Gateformer-lo-90": 0.0})
    write_table(tmp_path / "out.csv", ahead, table.layout)
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "unique_id,ds,Gateformer,Gateformer-lo-90",
        "a,2024-02-08,1.000,0.000",
    ]


def test_date_and_time_go_back_to_their_columns(read, tmp_path):
    lines = ["Date;Time;x", *(f"{20 + i // 24}/03/2004;{i % 24}.00.00;{i},5" for i in range(40))]
    table = read(lines)
    write_table(tmp_path / "out.csv", table.values, table.layout)
    assert (tmp_path / "out.csv").read_text().splitlines() == [line.replace(",5", ",50") for line in lines]


@pytest.mark.parametrize("zone", ["Z", "+02:00", "-0500"])
def test_zone_of_the_input(read, tmp_path, zone):
    hours = pd.date_range("2024-07-01", periods=20, freq="h").strftime(f"%Y-%m-%dT%H:%M:%S{zone}")
    table = read(["time,x", *(f"{d},1" for d in hours)])
    write_table(tmp_path / "out.csv", pd.DataFrame({"x": [1.0]}, index=table.future_dates(1)), table.layout)
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == f"2024-07-01T20:00:00{zone},1.00"


def test_axis_of_integers(read, tmp_path):
    table = read(["t,x", *(f"{3 * i},{i}" for i in range(9))])
    write_table(tmp_path / "out.csv", pd.DataFrame({"x": [1.0]}, index=table.future_dates(1)), table.layout)
    assert (tmp_path / "out.csv").read_text() == "t,x\n27,1.00\n"
