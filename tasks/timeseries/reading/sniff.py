"""What a CSV does not say of itself: its encoding and its delimiter."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path

from gated.errors import UserError

BLANK = " ,;|\t"
"""What a cell without content may hold: spaces, and the delimiters of a row that was padded."""
_DELIMITERS = (";", "\t", "|", ",")  # a comma last: it may also be the decimal sign
_SAMPLE = 50
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def find_encoding(path: Path) -> str:
    """Return the encoding by its mark, else UTF-8 if all of the file is, else Windows-1252."""
    with path.open("rb") as file:
        start = file.read(3)
        if not start:
            raise UserError(f"{path} is empty", expected="a CSV with a header row and a date column")
        marked = next((name for mark, name in _BOMS.items() if start.startswith(mark)), None)
    for encoding in [marked] if marked else ["utf-8", "cp1252"]:
        try:
            with path.open(encoding=encoding, newline="") as file:
                blank = True
                for block in iter(lambda: file.read(1 << 20), ""):
                    if "\0" in block:
                        raise UnicodeError
                    blank = blank and not block.strip()
        except UnicodeError:
            continue
        if blank:
            raise UserError(f"{path} is empty", expected="a CSV with a header row and a date column")
        return encoding
    raise UserError(f"{path} is not a CSV", expected="text", found="binary data", hint="save it as CSV (UTF-8)")


def find_delimiter(path: Path, encoding: str) -> str:
    """Return the delimiter that gives the most rows as many cells as the header, and the most cells."""
    best: tuple[float, int] = (0.0, 0)
    found = ""
    head = ""
    for delimiter in _DELIMITERS:
        rows = _sample(path, encoding, delimiter)
        head = head or delimiter.join(rows[0]) if rows else head
        widths = [len(row) for row in rows]
        if not widths or max(widths) < 2:
            continue
        usual = max(set(widths), key=widths.count)
        score = (sum(width == widths[0] for width in widths) / len(widths) if widths[0] > 1 else 0.0, usual)
        if score > best or not found:
            best, found = max(best, score), delimiter
    if not found:
        raise UserError(
            f"{path} is not a CSV with several columns",
            expected="columns separated by a comma, semicolon, tab or bar",
            found=f"the first line is {head.strip()[:60]!r}",
        )
    return found


def _sample(path: Path, encoding: str, delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    with path.open(encoding=encoding, newline="") as file:
        try:
            for row in csv.reader(file, delimiter=delimiter):
                if any(cell.strip(BLANK) for cell in row):
                    rows.append(row)
                if len(rows) > _SAMPLE:
                    break
        except csv.Error:
            pass  # told with its line by the reading proper
    return rows
