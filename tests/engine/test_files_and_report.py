"""Files appear whole or not at all; a report holds its pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from gated.engine.files import atomic_path, existing_file
from gated.engine.report import Section, write_report
from gated.errors import UserError


def test_a_failure_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("before")

    def write_and_fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_and_fail()
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_success_replaces_and_makes_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "out.csv"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert [p.name for p in target.parent.iterdir()] == ["out.csv"]


def test_an_output_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"), atomic_path(tmp_path / "file" / "out.csv"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot write"), atomic_path(tmp_path / "folder") as temporary:
        temporary.write_text("x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_missing_file_names_the_nearest_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"nearest folder that exists is {tmp_path}"):
        existing_file(tmp_path / "no" / "file.csv", "table")
    with pytest.raises(UserError, match="is a folder"):
        existing_file(tmp_path, "table")
    for stream in ("-", "/dev/null"):
        with pytest.raises(UserError, match=r"is no file(.|\n)*a pipe(.|\n)*save it"):
            existing_file(stream, "table")


def test_a_report_is_one_file_with_everything_inside(tmp_path: Path) -> None:
    picture, sound = tmp_path / "p.png", tmp_path / "s.wav"
    picture.write_bytes(b"\x89PNG fake")
    sound.write_bytes(b"RIFF fake")
    section = Section(
        "A <b>", "one\n\ntwo", {"acc": 0.98765, "who": "we"}, [(picture, "a picture")], [(sound, "a voice")]
    )
    page = write_report(tmp_path / "out" / "report.html", "T", [section]).read_text()
    picture.unlink()
    assert "A &lt;b&gt;" in page
    assert "<p>one</p><p>two</p>" in page
    assert "0.9877" in page
    assert page.count("base64,") == 2
    assert 'src="/' not in page
    assert "http" not in page
