"""Columns of text as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from gated.errors import UserError
from tasks.timeseries.reading.amounts import GROUPS, SPACES, amounts, matches
from tasks.timeseries.reading.decimal_sign import DecimalSign, evidence, is_absent
from tasks.timeseries.reading.source import Source

HUGE = 1e100
"""Beyond it squares overflow."""
_PLAIN = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_DIGITS = re.compile(r"[^.eE]*(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_SMALLEST = 400  # no float64 has more digits after the point
_FEW, _FEW_SHARE = 3, 0.01  # so many cells of text are a mistake in a column of numbers


class NotNumbers(NamedTuple):
    """What is found in a column of text: the rows whose cells can't be read as numbers."""

    rows: np.ndarray


@dataclass(frozen=True)
class Numbers:
    """A column as numbers.

    Attributes:
        values: ``[R]`` float64, NaN where there is none.
        decimals: digits after the decimal sign that are usual in it, at least 2.
        notes: what was read otherwise than it stands.
    """

    values: np.ndarray
    decimals: int
    notes: tuple[str, ...] = ()


def read_numbers(
    source: Source, name: str, decimal: DecimalSign, missing: Sequence[str | float] = ()
) -> Numbers | NotNumbers:
    """Read a column as numbers, unless it is one of text.

    Args:
        source: the table.
        name: the column.
        decimal: of the table; a column that says otherwise beyond doubt has its own.
        missing: more texts or numbers that stand for no value.

    Raises:
        UserError: a few cells are text among numbers, or a number is too large; naming the column, line and text.
    """
    if not source.is_text(name):
        values = source.frame[name].to_numpy(dtype=np.float64, copy=True)
        values[np.isin(values, _as_numbers(missing))] = np.nan
        _check_size(source, name, values)
        return Numbers(values, _usual_digits(map(repr, values[:1000].tolist())))
    texts, codes = source.texts(name), source.codes(name)
    absent = is_absent(texts, missing)
    found = evidence(texts[~absent])
    sign, sure = decimal
    if found.commas != found.points and min(found.commas, found.points) == 0:
        sign, sure = "," if found.commas else ".", True
    body, notes = _normal(texts, absent, sign, found.doubtful if not sure else found.doubtful[:0])
    good = matches(body, _PLAIN)
    bad = (~good & ~absent).to_numpy()
    counts = np.bincount(codes, minlength=len(texts))
    given, wrong = int(counts[~absent].sum()), int(counts[bad].sum())
    rows = np.flatnonzero(bad[codes]) if wrong else np.empty(0, dtype=np.int64)
    if wrong and (wrong > max(_FEW, _FEW_SHARE * given) or wrong > 0.5 * given):
        return NotNumbers(rows)
    if wrong:
        raise UserError(
            f"column {name!r} has {'a cell that is' if wrong == 1 else 'cells that are'} not a number",
            expected=f"numbers with {sign!r} as decimal sign, or an empty cell",
            found=f"{texts[codes[rows[0]]]!r} in {source.at(rows)}",
            hint=f"mend the cell, or have it taken for a missing value: --missing {texts[codes[rows[0]]]!r}",
        )
    values = body.where(~absent, "nan").to_numpy(dtype=object).astype(np.float64)
    values[np.isin(values, _as_numbers(missing))] = np.nan
    column = values[codes]
    _check_size(source, name, column)
    return Numbers(column, _usual_digits(body[~absent]), tuple(f"column {name!r}: {note}" for note in notes))


def _normal(texts: pd.Series, absent: pd.Series, decimal: str, doubtful: pd.Series) -> tuple[pd.Series, list[str]]:
    """Return texts as Python writes numbers, where they are numbers at all, and what was read into them.

    Args:
        texts: of one column.
        absent: those that stand for no value.
        decimal: the decimal sign of the column.
        doubtful: those for which it is not beyond doubt.
    """
    notes = []
    body, units, moved = amounts(texts.where(~absent, "0"))
    unit = units[~absent & matches(body, rf"[+-]?[0-9.,{SPACES}]+(?:[eE][+-]?[0-9]+)?")]
    if len(unit) and unit.iloc[0] and (unit == unit.iloc[0]).all():
        notes.append(f"the sign {unit.iloc[0]!r} is left out of its numbers")
    else:
        body = body.where(units == "", texts)
    if moved.any():
        notes.append(f"{texts[moved].iloc[0]!r} and the like are read as negative numbers")
    sign, other = (r"\.", ",") if decimal == "." else (",", r"\.")
    grouped = matches(body, rf"[+-]?{GROUPS}([{other}{SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*(?:{sign}[0-9]*)?")
    if grouped.any():
        body = body.mask(grouped, body.str.replace(rf"[{other}{SPACES}]", "", regex=True))
    if grouped.any() and not len(doubtful):
        notes.append(f"{texts[grouped].iloc[0]!r} and the like are read as thousands")
    if decimal == ",":
        body = body.where(~body.str.contains(".", regex=False), texts + "?").str.replace(",", ".", regex=False)
    doubtful = doubtful[matches(body[doubtful.index], _PLAIN)]
    if len(doubtful):
        first = doubtful.index[0]
        ways = ("thousands", "decimal numbers") if grouped[first] else ("decimal numbers", "thousands")
        notes.append(
            f"{texts[first]!r} and the like are read as {ways[0]} ({float(body[first]):g}); "
            f"nothing in the table says that they are not {ways[1]}"
        )
    return body, notes


def _check_size(source: Source, name: str, values: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        huge = np.flatnonzero(np.abs(values) > HUGE)
    if len(huge):
        raise UserError(
            f"column {name!r} has a number that is too large",
            expected=f"numbers below {HUGE:g}",
            found=f"{values[huge[0]]:g} in {source.at(huge)}",
            hint="mend it, or empty the cell",
        )


def _usual_digits(numbers: Iterable[str]) -> int:
    """Return how many digits after the point are usual, those that an exponent stands for among them."""
    found = (_DIGITS.fullmatch(number) for number in numbers)
    digits = [len(parts[1] or "") - float(parts[2] or 0) for parts in found if parts and (parts[1] or parts[2])]
    return int(np.clip(np.median(digits), 2, _SMALLEST)) if digits else 2


def _as_numbers(marks: Sequence[str | float]) -> list[float]:
    found = []
    for mark in marks:
        try:
            found.append(float(mark))
        except ValueError:
            continue
    return found
