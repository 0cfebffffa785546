"""A CSV as cells: encoding, delimiter, header, and rows that all have the same length."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import compress, islice
from pathlib import Path

import numpy as np
import pandas as pd

from gated.engine.files import existing_file
from gated.errors import UserError
from tasks.timeseries.reading.sniff import BLANK, find_delimiter, find_encoding
from tasks.timeseries.reading.source import Source, merged

_CHUNK = 10_000
_MANY = 5_000  # different numbers in a chunk after which their text is let go, to bound the memory
_BREAK = re.compile(r"\r\n|\r|\n")


def read_cells(path: str | Path) -> Source:
    """Read a CSV as it stands, every cell as text.

    A column of a great many different decimal numbers is kept as numbers, all others as categorical text.

    Raises:
        UserError: the file is missing, empty, not text, without a delimiter or header, or its rows differ in length.
    """
    path = existing_file(path, "CSV")
    encoding = find_encoding(path)
    delimiter = find_delimiter(path, encoding)
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(row for row in reader if any(cell.strip() for cell in row))]
            first = reader.line_num
            header = header[: max((place + 1 for place, name in enumerate(header) if name.strip(BLANK)), default=0)]
            _check_header(header, path, first)
            columns, lines = _columns(reader, header, path, delimiter)
        except csv.Error as error:
            raise UserError(
                f"{path} can't be split into cells", found=f"line {reader.line_num}: {error}", hint="mend the line"
            ) from None
    names, kept = _names(header, columns)
    frame = pd.DataFrame(dict(zip(names, (columns[place] for place in kept), strict=True)))
    notes = ("the file is not UTF-8: read as Windows-1252",) if encoding == "cp1252" else ()
    return Source(frame, lines, "line", delimiter, encoding, notes)


def _check_header(header: Sequence[str], path: Path, line: int) -> None:
    if len(header) < 2:
        raise UserError(
            f"{path}: line {line} is not a header",
            expected="a header row with a name for each column, in the first line",
            found=repr((header or [""])[0][:60]),
            hint="remove what stands above the header",
        )
    if all(re.fullmatch(r"[-+0-9.,:/ TZ%$€]*", name) for name in header):
        raise UserError(
            f"{path} has no header",
            expected="a name for each column in the first line",
            found=", ".join(map(repr, header[:4])) + f" in line {line}",
            hint="add a line such as: date" + ",value" * (len(header) - 1),
        )
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    if doubled:
        raise UserError(f"{path} has two columns of one name", found=", ".join(map(repr, doubled)), hint="rename one")


def _columns(
    reader: Iterator[list[str]], header: Sequence[str], path: Path, delimiter: str
) -> tuple[list[pd.Series], np.ndarray]:
    """Return the columns and the line of each row; rows without any cell are skipped."""
    width = len(header)
    codes: list[list[np.ndarray]] = [[] for _ in header]
    uniques: list[list[np.ndarray]] = [[] for _ in header]
    plain: list[dict[int, np.ndarray]] = [{} for _ in header]
    lines: list[np.ndarray] = []
    for rows, numbers in _chunks(reader):
        if set(map(len, rows)) != {width}:
            rows = [_fitted(row, width, line, path, delimiter) for row, line in zip(rows, numbers, strict=True)]
        lines.append(numbers)
        for place, cells in enumerate(zip(*rows, strict=True)):
            code, unique = pd.factorize(np.array(cells, dtype=object))
            values = _plain_numbers(unique) if len(unique) > _MANY else None
            if values is not None:
                plain[place][len(lines) - 1] = values[code]
                code, unique = code[:0], unique[:0]
            codes[place].append(code.astype(np.int16))  # a chunk has fewer rows than that holds
            # no objects: each would keep the block of memory in which it lay among all cells of its chunk
            uniques[place].append(unique.astype(np.dtypes.StringDType()))
    if not lines:
        raise UserError(f"{path} has a header but no rows", expected="one row for each date")
    columns = [_joined(codes[p], uniques[p], plain[p], header[p]) for p in range(width)]
    return columns, np.concatenate(lines)


def _chunks(reader: Iterator[list[str]]) -> Iterator[tuple[list[list[str]], np.ndarray]]:
    """Yield rows that are not empty, with their lines."""
    before = reader.line_num  # type: ignore[attr-defined]
    while rows := list(islice(reader, _CHUNK)):
        after = reader.line_num  # type: ignore[attr-defined]
        if after - before == len(rows):
            lines = np.arange(before + 1, after + 1, dtype=np.int32)
        else:  # cells with line breaks
            lines = before + np.cumsum([1 + sum(len(_BREAK.findall(cell)) for cell in row) for row in rows])
        before = after
        kept = [bool(row) and (row[0] != "" or any(cell.strip(BLANK) for cell in row)) for row in rows]
        if not all(kept):
            rows, lines = list(compress(rows, kept)), lines[kept]
        if rows:
            yield rows, lines


def _fitted(row: list[str], width: int, line: int, path: Path, delimiter: str) -> list[str]:
    """Cut off empty cells beyond the header."""
    if len(row) < width or any(cell.strip(BLANK) for cell in row[width:]):
        raise UserError(
            f"{path}: the rows differ in length",
            expected=f"{width} cells in every line, as in the header",
            found=f"line {line} has {len(row)}",
            hint=f"mend it (the delimiter was taken to be {delimiter!r}), or remove what stands above the header",
        )
    return row[:width]


def _plain_numbers(texts: np.ndarray) -> np.ndarray | None:
    """Return texts as numbers if they are decimal numbers with a point beyond doubt, else None.

    Integers stay text, for they may be dates or names, and so does 1.234, which may be thousands.
    """
    joined = "".join(texts)
    doubtful = all(len(text) - text.find(".") == 4 for text in texts[:1000] if "." in text)
    if doubtful or joined.count(".") < 0.5 * len(texts) or "_" in joined:  # Python takes 1_000 for a number
        return None
    try:
        return np.where(texts == "", "nan", texts).astype(np.float64)
    except ValueError:
        return None


def _joined(codes: list[np.ndarray], uniques: list[np.ndarray], plain: dict[int, np.ndarray], name: str) -> pd.Series:
    """Join the pieces of a column: numbers if all are, else text."""
    if not plain:
        return pd.Series(merged(codes, uniques), name=name)
    for piece, (code, unique) in enumerate(zip(codes, uniques, strict=True)):
        if piece not in plain:
            values = _plain_numbers(unique.astype(object))
            if values is None:  # repr is the shortest text that gives the number again
                break
            plain[piece] = values[code]
    else:
        return pd.Series(np.concatenate([plain[piece] for piece in range(len(codes))]), name=name)
    for piece, values in plain.items():
        if not len(codes[piece]):
            texts = np.array(["" if np.isnan(value) else repr(float(value)) for value in values], dtype=object)
            codes[piece], uniques[piece] = pd.factorize(texts)
    return pd.Series(merged(codes, uniques), name=name)


def _names(header: Sequence[str], columns: Sequence[pd.Series]) -> tuple[list[str], list[int]]:
    """Return the names and places of the columns to keep: one without a name and without a value is not."""
    names, kept, taken = [], [], set(header)
    for place, (name, column) in enumerate(zip(header, columns, strict=True)):
        if not name.strip(BLANK):
            text = isinstance(column.dtype, pd.CategoricalDtype)
            if text and not any(str(cell).strip(BLANK) for cell in column.cat.categories):
                continue
            name = f"column {place + 1}"
            while name in taken:
                name = f"unnamed {name}"
        names.append(name)
        kept.append(place)
        taken.add(name)
    return names, kept
