"""Columns of text as numbers: decimal sign, thousands, units, marks of a missing value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gated.errors import UserError
from tasks.timeseries.reading.source import Source, is_missing

HUGE = 1e100
"""Beyond it squares overflow."""
_PLAIN = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_SPACES = " '\u2019\u00a0\u202f"
_UNIT = r"^(?P<before>US\$|[$€£¥₹])?\s*(?P<body>.*?)\s*(?P<after>%|[$€£¥₹])?$"
_SIGNS = r"^(?:US\$|[$€£¥₹])\s*|\s*[%$€£¥₹]$"
_FEW, _FEW_SHARE = 3, 0.01  # so many cells of text are a mistake in a column of numbers


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


def decimal_sign(source: Source) -> str:
    """Return the decimal sign of a table: what most cells say beyond doubt, else what goes with its delimiter."""
    commas = points = doubtful = 0
    for name in source.frame.columns:
        if source.is_text(name):
            comma, point, open_ = _evidence(source.texts(name))
            commas, points, doubtful = commas + comma, points + point, doubtful + open_
        elif pd.api.types.is_float_dtype(source.frame[name]):
            points += len(source.frame)
    if commas == points == 0:
        return "," if doubtful and source.delimiter == ";" else "."
    return "," if commas > points else "."


def read_numbers(source: Source, name: str, decimal: str, missing: Sequence[str | float] = ()) -> Numbers | None:
    """Read a column as numbers; None if it is one of text.

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
        return Numbers(values, _usual_digits(pd.Series([repr(v) for v in values[:1000].tolist()]), "."))
    texts, codes = source.texts(name), source.codes(name)
    absent = is_missing(texts) | texts.isin([str(mark).strip() for mark in missing])
    comma, point, _ = _evidence(texts[~absent])
    if comma != point and min(comma, point) == 0:
        decimal = "," if comma else "."
    values, bad, notes = _parse(texts, absent, decimal)
    counts = np.bincount(codes, minlength=len(texts))
    given, wrong = int(counts[~absent].sum()), int(counts[bad].sum())
    if wrong and (wrong > max(_FEW, _FEW_SHARE * given) or wrong > 0.5 * given):
        return None
    if wrong:
        rows = np.flatnonzero(bad[codes])
        raise UserError(
            f"column {name!r} has {'a cell that is' if wrong == 1 else 'cells that are'} not a number",
            expected=f"numbers with {decimal!r} as decimal sign, or an empty cell",
            found=f"{texts[codes[rows[0]]]!r} in {source.at(rows)}",
            hint=f"mend the cell, or have it taken for a missing value: --missing {texts[codes[rows[0]]]!r}",
        )
    values[np.isin(values, _as_numbers(missing))] = np.nan
    column = values[codes]
    _check_size(source, name, column)
    return Numbers(column, _usual_digits(texts, decimal), tuple(f"column {name!r}: {note}" for note in notes))


def _evidence(texts: pd.Series) -> tuple[int, int, int]:
    """Return how many texts have a comma as decimal sign beyond doubt, how many a point, how many could be either."""

    def sure(sign: str, other: str) -> int:
        pattern = (
            rf"[+-]?(?:[0-9]*{sign}(?:[0-9]{{1,2}}|[0-9]{{4,}})(?:[eE][+-]?[0-9]+)?|(?:0?|[0-9]{{4,}}){sign}[0-9]{{3}}"
        )
        pattern += rf"|[0-9]{{1,3}}(?:[{other} '][0-9]{{3}})+{sign}[0-9]+|[0-9]{{1,3}}(?:{other}[0-9]{{3}}){{2,}})"
        return int(with_sign.str.fullmatch(pattern).sum())

    with_sign = texts[texts.str.contains("[.,]", regex=True)].str.replace(_SIGNS, "", regex=True)
    either = with_sign.str.fullmatch(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}").sum()
    return sure(",", r"\."), sure(r"\.", ","), int(either)


def _parse(texts: pd.Series, absent: pd.Series, decimal: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the numbers of texts, which of them are none though they should be, and what was read into them."""
    notes = []
    body = texts.where(~absent, "0").str.replace("\u2212", "-", regex=False)
    units = body.str.extract(_UNIT)
    unit = (units["before"].fillna("") + units["after"].fillna(""))[~absent]
    if len(unit) and unit.iloc[0] and (unit == unit.iloc[0]).all():
        body = units["body"]
        notes.append(f"the sign {unit.iloc[0]!r} is left out of its numbers")
    sign, other = (r"\.", ",") if decimal == "." else (",", r"\.")
    grouped = body.str.fullmatch(rf"[+-]?[0-9]{{1,3}}([{other}{_SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*(?:{sign}[0-9]*)?")
    if decimal == ".":  # a point is no group in "1.234"
        grouped &= ~body.str.fullmatch(_PLAIN)
    if grouped.any():
        body = body.mask(grouped, body.str.replace(rf"[{other}{_SPACES}]", "", regex=True))
        notes.append(f"{texts[grouped].iloc[0]!r} and the like are read as thousands")
    if decimal == ",":
        body = body.where(~body.str.contains(".", regex=False), "x").str.replace(",", ".", regex=False)
    good = body.str.fullmatch(_PLAIN)
    values = body.where(good, "nan").to_numpy(dtype=object).astype(np.float64)
    values[absent.to_numpy()] = np.nan
    return values, (~good & ~absent).to_numpy(), notes


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


def _usual_digits(texts: pd.Series, decimal: str) -> int:
    digits = texts.str.extract(rf"{'[.]' if decimal == '.' else ','}([0-9]+)$", expand=False).str.len()
    return int(max(2, digits.median() if digits.notna().any() else 0))


def _as_numbers(marks: Sequence[str | float]) -> list[float]:
    found = []
    for mark in marks:
        try:
            found.append(float(mark))
        except ValueError:
            continue
    return found
