"""How a CSV is written: delimiter, decimal sign, digits; read off the file so that it can be written back alike."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gated.engine.files import existing_file
from gated.errors import UserError

_DELIMITERS = (";", "\t", "|", ",")  # a comma last: it may also be the decimal sign
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "-", "?"))
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Dialect:
    """Delimiter and decimal sign of a CSV."""

    delimiter: str = ","
    decimal: str = "."


def read_cells(path: str | Path) -> tuple[pd.DataFrame, Dialect]:
    """Read a CSV as text, every cell as it stands, and tell its dialect.

    The index holds the line number of each row in the file, for messages.

    Raises:
        UserError: the file is missing, empty, not text, without a delimiter, or its rows differ in length.
    """
    path = existing_file(path, "CSV")
    raw = path.read_bytes()
    if not raw.strip():
        raise UserError(f"{path} is empty", expected="a CSV with a header row, a date column and columns of numbers")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    if not text or "\0" in text:
        raise UserError(
            f"{path} is not a CSV",
            expected="text in UTF-8",
            found="binary data, or another encoding",
            hint="save it as CSV (UTF-8)",
        )
    delimiter, rows, lines = _split(text, path)
    header = [name.strip() for name in rows[0]]
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise UserError(f"{path} has two columns of one name", found=", ".join(map(repr, doubled)), hint="rename one")
    frame = pd.DataFrame(rows[1:], columns=header, index=pd.Index(lines[1:], name="line"), dtype=object)
    if frame.empty:
        raise UserError(f"{path} has a header but no rows", expected="one row for each date")
    return frame, Dialect(delimiter, _decimal(frame, delimiter))


def _split(text: str, path: Path) -> tuple[str, list[list[str]], list[int]]:
    """Split into cells by the delimiter that gives every row as many as the header; blank lines are skipped."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        head = next(line for line in io.StringIO(text) if line.strip())
        widths = {d: len(next(csv.reader([head], delimiter=d))) for d in _DELIMITERS}
        delimiter = max(_DELIMITERS, key=lambda d: widths[d])
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        found = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV", found=f"line {reader.line_num}: {error}") from None
    lines, rows = [line for line, _ in found], [row for _, row in found]
    if widths[delimiter] < 2:
        raise UserError(
            f"{path} is not a CSV with several columns",
            expected="columns separated by a comma, semicolon, tab or bar",
            found=f"the first line is {head.strip()[:60]!r}",
        )
    odd = [(line, len(row)) for line, row in zip(lines, rows, strict=True) if len(row) != len(rows[0])]
    if odd:
        raise UserError(
            f"{path}: the rows differ in length",
            expected=f"{len(rows[0])} cells in every line, as in the header",
            found="; ".join(f"line {line} has {width}" for line, width in odd[:3]) + (" ..." if len(odd) > 3 else ""),
            hint=f"mend these lines (the delimiter was taken to be {delimiter!r})",
        )
    return delimiter, rows, lines


def _decimal(frame: pd.DataFrame, delimiter: str) -> str:
    """Return ``","`` if numbers are written 1,5 and none is written 1.5."""
    if delimiter == ",":
        return "."
    sample = [cell for column in frame.columns for cell in frame[column].head(2000)]
    commas = sum(re.fullmatch(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*", cell) is not None for cell in sample)
    points = sum(re.fullmatch(r"\s*[+-]?\d*\.\d+([eE][+-]?\d+)?\s*", cell) is not None for cell in sample)
    return "," if commas > points else "."


def is_missing(cells: pd.Series) -> pd.Series:
    """Return where a cell says that there is no value."""
    return cells.str.strip().str.lower().isin(_MISSING)


def numbers(cells: pd.Series, decimal: str) -> pd.Series:
    """Turn text into float64; NaN where there is no value.

    Raises:
        UserError: a cell is neither a number nor missing; the message gives the column, the line and the text.
    """
    text = cells.str.strip()
    if decimal == ",":
        text = text.str.replace(",", ".", regex=False)
    missing = is_missing(cells)
    wrong = ~missing & ~text.str.fullmatch(_NUMBER.pattern)
    if wrong.any():
        line = wrong.idxmax()
        share = float(wrong.sum() / max(1, (~missing).sum()))
        raise UserError(
            f"column {cells.name!r} holds text"
            if share > 0.5
            else f"column {cells.name!r} has cells that aren't numbers",
            expected=f"numbers with {decimal!r} as decimal sign, or an empty cell",
            found=f"{cells[line]!r} in line {line}" + (f", and {wrong.sum() - 1} more" if wrong.sum() > 1 else ""),
            hint="choose the columns to forecast with --target, or mend the cell",
        )
    return pd.to_numeric(text.where(~missing), errors="coerce").astype("float64")


def decimals(cells: pd.Series, decimal: str) -> int:
    """Return the digits after the decimal sign to write a column with: as many as usual in it, at least 2."""
    digits = cells.str.strip().str.extract(rf"{re.escape(decimal)}(\d+)$", expand=False).str.len()
    return int(max(2, digits.median() if digits.notna().any() else 0))


def write_cells(path: Path, header: Iterable[str], rows: Iterable[Iterable[str]], delimiter: str) -> None:
    """Write text cells as a CSV with ``delimiter``, quoted where needed."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
