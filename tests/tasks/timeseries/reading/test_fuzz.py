"""Broken CSVs: each ends in a table or in one message, and what is in a table stands in the file."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gated.errors import UserError
from tasks.timeseries.check import report
from tasks.timeseries.reading import read_table, write_table
from tasks.timeseries.table import Table

ROWS = 24
QUICK, SLOW = 100, 700  # for each of three tests
NASTY = (
    *("", " ", "NA", "-", "nan", "inf", "-inf", "1e999", "1e308", "-1e150", "9" * 400, "0x1f", "1_000", "1,5", "1.5"),
    *("1.234.567,8", "1,234,567.8", "12 %", "$3", "€ 4", "--5", "5-", "1e", "e5", "TRUE", "x3", "soon", "2024-02-30"),
    *("31/12/2024", "2024-13-01", "0000-00-00", "9999-12-31", "1677-01-01", "2262-05-01", "24:00", "١٢", "½", "−7"),
    *(
        "2024-01-05T00:00:00Z",
        "2024-01-05 00:00+01:00",
        "a,b",
        "a;b",
        'a"b',
        "a\nb",
        "a\tb|c",
        "\ufeff",
        "\u202e",
        "😀",
    ),
    *(
        "-200",
        "-999",
        "9999",
        "2024W07",
        "2024-W07",
        "2024Q1",
        "Q5 2024",
        "17.30",
        "1700000000",
        "=SUM(A1)",
        "\r",
        "\x1a",
    ),
)


@dataclass(frozen=True)
class Base:
    """A good CSV."""

    rows: list[list[str]] = field(repr=False)
    delimiter: str
    decimal: str

    def text(self, rows: list[list[str]] | None = None) -> str:
        out = io.StringIO()
        csv.writer(out, delimiter=self.delimiter, lineterminator="\n").writerows(self.rows if rows is None else rows)
        return out.getvalue()


def wide(delimiter: str, decimal: str, form: str, freq: str) -> Base:
    dates = pd.date_range("2024-01-20", periods=ROWS, freq=freq).strftime(form)
    rows = [[d, f"{10 + i * 0.37:.2f}".replace(".", decimal), str(200 + 3 * i)] for i, d in enumerate(dates)]
    return Base([["date", "a", "b"], *rows], delimiter, decimal)


def long(delimiter: str, decimal: str, names: tuple[str, str, str]) -> Base:
    rows = []
    for shop, start in (("north", "2024-01-01"), ("south", "2024-01-04"), ("s 3", "2024-01-01")):
        dates = pd.date_range(start, periods=ROWS // 2).strftime("%Y-%m-%d")
        rows += [[shop, d, f"{len(shop) + i * 1.25:.2f}".replace(".", decimal), str(i)] for i, d in enumerate(dates)]
    return Base([[*names, "extra"], *rows], delimiter, decimal)


BASES = (
    wide(",", ".", "%Y-%m-%d", "D"),
    wide(";", ",", "%d.%m.%Y", "D"),
    wide("\t", ".", "%m/%d/%Y %H:%M", "h"),
    wide("|", ",", "%Y-%m", "MS"),
    wide(",", ".", "%Y-%m-%dT%H:%M:%SZ", "15min"),
    long(",", ".", ("unique_id", "ds", "y")),
    long(";", ",", ("laden", "datum", "absatz")),
)


def flip_bytes(data: bytes, dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        out[dice.randrange(len(out))] = dice.choice((dice.randrange(256), 0, 0xFF, ord('"'), ord(","), ord("\n")))
    return bytes(out)


def inject(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data))
    return data[:place] + dice.choice(NASTY).encode() + data[place + dice.choice((0, 0, 3)) :]


def truncate(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))] + dice.choice((b"", b"\n", b'"'))


def other_encoding(data: bytes, dice: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(dice.choice(("utf-16", "utf-16-le", "utf-8-sig", "cp1252", "utf-32")), "replace")


def lines(change: Callable[[list[bytes], random.Random], None]) -> Callable[[bytes, random.Random], bytes]:
    def mutate(data: bytes, dice: random.Random) -> bytes:
        rows = data.split(b"\n")
        change(rows, dice)
        return b"\n".join(rows)

    return mutate


def drop_line(rows: list[bytes], dice: random.Random) -> None:
    del rows[dice.randrange(len(rows))]


def double_line(rows: list[bytes], dice: random.Random) -> None:
    rows.insert(dice.randrange(len(rows)), dice.choice(rows))


def swap_lines(rows: list[bytes], dice: random.Random) -> None:
    a, b = dice.randrange(len(rows)), dice.randrange(len(rows))
    rows[a], rows[b] = rows[b], rows[a]


def add_line(rows: list[bytes], dice: random.Random) -> None:
    rows.insert(dice.randrange(len(rows)), dice.choice((b"", b"# comment", b",,", b";;;", b"total;1", b'"', b" ")))


def other_delimiter(rows: list[bytes], dice: random.Random) -> None:
    old, new = dice.choice(b",;\t|"), dice.choice(b",;\t| ")
    for place in dice.choice(([dice.randrange(len(rows))], range(len(rows)))):
        rows[place] = rows[place].replace(bytes([old]), bytes([new]))


def other_date(rows: list[bytes], dice: random.Random) -> None:
    place = dice.randrange(len(rows))
    rows[place] = rows[place].replace(b"2024-01", dice.choice((b"2024-1", b"2024/01", b"24-01", b"1024-01", b"")))


MUTATIONS = (
    *(flip_bytes, inject, inject, inject, truncate, other_encoding),
    *map(lines, (drop_line, double_line, swap_lines, add_line, other_delimiter, other_date)),
)
SEEDS = st.integers(0, 2**32 - 1)


def read(path: Path, data: bytes) -> Table | None:
    """Read bytes as a CSV; anything but a table and a message fails."""
    path.write_bytes(data)
    try:
        table = read_table(path)
    except UserError:
        return None
    values = table.values.to_numpy()
    assert values.dtype == np.float64
    assert not np.isinf(values).any()
    assert table.offsets[-1] == len(values) > 0
    assert report(table)
    written = path.with_suffix(".out.csv")
    frame = table.group(0).tail(3)
    if table.layout.id_column is not None:
        frame = frame.assign(**{table.layout.id_column: table.ids[0]})
    write_table(written, frame, table.layout)
    table.future_dates(3)
    return table


def check_anything(path: Path, base: Base, changes: list[tuple[Callable, int]]) -> None:
    data = base.text().encode()
    for change, seed in changes:
        data = change(data, random.Random(seed)) if data else data
    read(path, data)


def check_other_columns(path: Path, base: Base, column: int, cells: list[tuple[int, str]]) -> None:
    rows = [list(row) for row in base.rows]
    for place, text in cells:
        rows[1 + place % (len(rows) - 1)][column] = text
    table = read(path, base.text(rows).encode())
    if table is None:
        return
    name, other = base.rows[0][column], base.rows[0][{2: 1, 1: 2}[column] if len(base.rows[0]) == 3 else 5 - column]
    good = read(path, base.text().encode())
    assert good is not None
    if other in table.columns and other in good.columns:
        pd.testing.assert_series_equal(table.values[other], good.values[other])
    assert table.columns, name


def check_lines(path: Path, base: Base, changes: list[tuple[Callable, int]]) -> None:
    head, *rows = base.text().encode().split(b"\n")
    for change, seed in changes:
        if rows:
            change(rows, random.Random(seed))
    table, good = read(path, b"\n".join([head, *rows])), read(path, base.text().encode())
    assert good is not None
    if table is None:
        return
    if "averaged" in " ".join(table.notes):
        raise AssertionError("rows that were only doubled are the same")
    if (table.layout.id_column, table.columns) != (good.layout.id_column, good.columns):
        assert len(rows) < len(base.rows) // 2, "a few lines do not change the layout"
        return
    known = {(good.ids[g], date): row for g in range(len(good.ids)) for date, row in zip(*_rows(good, g), strict=True)}
    for g in range(len(table.ids)):
        for date, row in zip(*_rows(table, g), strict=True):
            if not np.isnan(row).all():
                np.testing.assert_array_equal(row, known[table.ids[g], date])


def _rows(table: Table, group: int) -> tuple[pd.Index, np.ndarray]:
    rows = table.group(group)
    return rows.index, rows.to_numpy()


bases = st.sampled_from(BASES)
anything = st.lists(st.tuples(st.sampled_from(MUTATIONS), SEEDS), min_size=1, max_size=4)
cell_text = st.sampled_from(NASTY) | st.text(max_size=6).filter(lambda text: "\0" not in text and text.isprintable())
few_cells = st.lists(st.tuples(st.integers(0, 200), cell_text), min_size=1, max_size=ROWS)
line_changes = st.lists(st.tuples(st.sampled_from((drop_line, double_line, swap_lines)), SEEDS), min_size=1, max_size=5)


def fuzz(examples: int) -> settings:
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=examples, deadline=None, suppress_health_check=quiet, database=None)


@pytest.mark.parametrize("examples", [QUICK, pytest.param(SLOW, marks=pytest.mark.slow)])
def test_any_change_ends_in_a_table_or_a_message(tmp_path, examples):
    run = fuzz(examples)(
        given(bases, anything)(lambda base, changes: check_anything(tmp_path / "x.csv", base, changes))
    )
    run()


@pytest.mark.parametrize("examples", [QUICK, pytest.param(SLOW, marks=pytest.mark.slow)])
def test_a_spoilt_column_leaves_the_others_alone(tmp_path, examples):
    def check(base: Base, last: bool, cells: list[tuple[int, str]]) -> None:
        width = len(base.rows[0])
        check_other_columns(tmp_path / "x.csv", base, width - 1 if last else width - 2, cells)

    fuzz(examples)(given(bases, st.booleans(), few_cells)(check))()


@pytest.mark.parametrize("examples", [QUICK, pytest.param(SLOW, marks=pytest.mark.slow)])
def test_lines_that_move_take_their_numbers_along(tmp_path, examples):
    run = fuzz(examples)(given(bases, line_changes)(lambda base, c: check_lines(tmp_path / "x.csv", base, c)))
    run()
