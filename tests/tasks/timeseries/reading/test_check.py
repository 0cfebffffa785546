from __future__ import annotations

import json
import shlex

import pytest

from gated.cli.main import Parser
from gated.errors import UserError
from tasks.timeseries.check import main, report
from tasks.timeseries.reading import read_table
from tasks.timeseries.reading.options import OPTIONS, add_reading_options, reading_options


@pytest.fixture
def csv(tmp_path, days):
    path = tmp_path / "my sales.csv"
    lines = ["shop,date,sold,flat", *(f"{s},{d},{i if i != 3 else ''},7" for s in "ab" for i, d in enumerate(days(40)))]
    del lines[60]
    path.write_text("\n".join(lines))
    return path


def test_report_says_what_was_read_and_what_to_type(csv, capsys):
    assert main([str(csv), "--target", "sold", "flat"]) == 0
    said = capsys.readouterr().out
    for part in (
        "rows      80",
        "2 in column 'shop': 'a', 'b'",
        "'sold', 'flat'",
        "2024-01-29 to 2024-03-08, a row every D",
        "season    7 rows",
        "sold 3.8%",
        "1 missing row(s) in 1 series added",
        "next: gated timeseries forecast",
    ):
        assert part in said
    words = shlex.split(said.split("next: ")[1])
    assert words[3:] == [str(csv), "--horizon", "7", "--target", "sold", "flat"]


def test_report_as_json(csv, capsys):
    assert main([str(csv), "--json", "--target", "sold", "--past", "flat"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert (known["layout"], known["rows"], known["frequency"], known["season"]) == ("long", 80, "D", 7)
    assert known["missing"] == {"sold": 3 / 80, "flat": 1 / 80}
    assert known["past"] == ["flat"]
    assert known["next"].endswith("--target sold --past flat")


def test_report_of_a_table(csv):
    assert report(read_table(csv)).splitlines()[0] == "rows      80"


def test_bad_data_is_a_message(csv):
    csv.write_text("nothing\n")
    with pytest.raises(UserError, match="not a CSV"):
        main([str(csv)])


def test_options_are_the_keywords_of_the_reader():
    parser = Parser("x")
    add_reading_options(parser)
    empty = reading_options(parser.parse_args([]))
    assert tuple(empty) == OPTIONS
    assert set(empty.values()) == {None}
    given = reading_options(parser.parse_args(["--missing", "-200", "x", "--no-day-first", "--past", "a", "b"]))
    assert given["missing"] == ["-200", "x"]
    assert given["day_first"] is False
    assert given["past"] == ["a", "b"]
