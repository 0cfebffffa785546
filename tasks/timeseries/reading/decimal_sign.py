"""The decimal sign of a table and of a column, and whether a sign stands between thousands instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.timeseries.reading.amounts import GROUPS, SPACES, amounts, matches
from tasks.timeseries.reading.sentinels import SENTINELS
from tasks.timeseries.reading.source import Source, is_missing

_DOUBTFUL = rf"[+-]?{GROUPS}([.,])[0-9]{{3}}"
_MANY = 30  # decimal numbers that are so many don't all have three digits by chance
_NEAR = 2  # times the range of the others within which a number is one of them


class DecimalSign(NamedTuple):
    """The decimal sign of a table, and whether its columns of numbers say so beyond doubt."""

    sign: str
    sure: bool


class Evidence(NamedTuple):
    """How many texts say that the decimal sign is a comma, how many a point, and those that could be read both ways."""

    commas: int
    points: int
    doubtful: pd.Series


def decimal_sign(source: Source, names: Iterable[str], missing: Sequence[str | float] = ()) -> DecimalSign:
    """Return the decimal sign of a table: what most cells say beyond doubt, else what goes with its delimiter.

    Args:
        source: the table.
        names: its columns of values; dates, times of day and names of series say nothing about numbers.
        missing: more texts or numbers that stand for no value.
    """
    commas = points = doubtful = 0
    for name in names:
        if source.is_text(name):
            texts = source.texts(name)
            found = evidence(texts[~is_absent(texts, missing)])
            commas, points = commas + found.commas, points + found.points
            doubtful += int(found.doubtful.str.contains(",", regex=False).sum())
        elif pd.api.types.is_float_dtype(source.frame[name]):
            points += len(source.frame)
    if commas != points:
        return DecimalSign("," if commas > points else ".", True)
    return DecimalSign("," if commas == 0 and doubtful and source.delimiter == ";" else ".", False)


def is_absent(texts: pd.Series, missing: Sequence[str | float]) -> pd.Series:
    """Return which texts stand for no value, those of ``missing`` among them."""
    return is_missing(texts) | texts.isin([str(mark).strip() for mark in missing])


def evidence(texts: pd.Series) -> Evidence:
    """Weigh what the texts of one column say about its decimal sign."""

    def sure(sign: str, other: str) -> int:
        ways = (
            rf"[0-9]*{sign}(?:[0-9]{{1,2}}|[0-9]{{4,}})",  # no group of three digits
            rf"(?:0?|[0-9]{{4,}}){sign}[0-9]{{3}}",  # nothing before it that could have groups behind
            rf"[0-9]*{sign}[0-9]*[eE][+-]?[0-9]+",
            rf"{GROUPS}(?:[{other}{SPACES}][0-9]{{3}})+{sign}[0-9]+",
            rf"{GROUPS}(?:{other}[0-9]{{3}}){{2,}}",  # a decimal sign comes once
        )
        return int(matches(body, rf"[+-]?(?:{'|'.join(ways)})").sum())

    with_sign = texts.str.contains("[.,]", regex=True)
    if not with_sign.any():
        return Evidence(0, 0, texts[with_sign])
    body = amounts(texts[with_sign]).body
    doubtful = body[matches(body, _DOUBTFUL)]
    commas, points = sure(",", r"\."), sure(r"\.", ",")
    if commas == points == 0 and len(doubtful) and _are_thousands(doubtful, texts[~with_sign]):
        if doubtful.str.contains(",", regex=False).any():
            points = len(doubtful)
        else:
            commas = len(doubtful)
    return Evidence(commas, points, texts[doubtful.index])


def _are_thousands(grouped: pd.Series, others: pd.Series) -> bool:
    """Whether numbers such as 1.004 are thousands, judged by those of their column that have no sign, such as 987.

    Where thousands have a sign, what has none is below 1000. A column of decimal numbers may by chance have a whole one
    too, but it is near the others, and not all of many others have three digits; and a number that stands for a missing
    value is neither.
    """
    if grouped.str.extract(_DOUBTFUL, expand=False).nunique() > 1:
        return False
    whole = amounts(others).body
    whole = whole[matches(whole, "[+-]?[0-9]{1,15}")].astype(np.float64)
    decimals = grouped.str.replace(",", ".", regex=False).astype(np.float64)
    whole = whole[(whole > 0) | ((whole < 0) & bool((decimals < 0).any()))]
    sizes, known = whole[~whole.isin(SENTINELS)].abs(), decimals.abs()
    if not len(sizes) or (sizes >= 1000).any():
        return False
    near = sizes.between(known.min() / _NEAR, known.max() * _NEAR).all()
    return len(sizes) > 1 or len(grouped) >= _MANY or not near
