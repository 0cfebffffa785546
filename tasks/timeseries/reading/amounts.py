"""Numbers as people write them: units, a minus in any place, groups of three digits."""

from __future__ import annotations

import re
from typing import NamedTuple

import pandas as pd

SPACES = " '\u2019\u00a0\u2009\u202f"  # they stand between thousands: Swiss, French, SI
GROUPS = r"[1-9][0-9]{0,2}"  # what stands before the groups of three digits
_SIMPLE = r"[+-]?[0-9.,]*(?:[eE][+-]?[0-9]+)?"
_UNIT = r"US\$|[$€£¥₹]"
_AMOUNT = (
    rf"^(?P<first>[-+(]?)\s*(?P<before>{_UNIT})?\s*(?P<second>[-+(]?)\s*(?P<body>[0-9.,].*?)"
    rf"\s*(?P<after>%|{_UNIT})?\s*(?P<last>[-)]?)\s*(?P<behind>%|{_UNIT})?$"
)


class Amounts(NamedTuple):
    """Texts without their unit and with the minus in front, their units, and which had the minus elsewhere."""

    body: pd.Series
    unit: pd.Series
    moved: pd.Series


def matches(texts: pd.Series, pattern: str) -> pd.Series:
    """Return which texts are all of a pattern; many times faster than pandas where they are few."""
    whole = re.compile(pattern).fullmatch
    return pd.Series([whole(text) is not None for text in texts.tolist()], index=texts.index, dtype=bool)


def amounts(texts: pd.Series) -> Amounts:
    """Take off units, and bring the minus of ``2,39-``, ``-$4.10``, ``$-4.10`` and ``(2.39)`` to the front."""
    body = texts.copy()
    unit = pd.Series("", index=texts.index, dtype=object)
    moved = pd.Series(False, index=texts.index)
    odd = ~matches(texts, _SIMPLE)
    if not odd.any():
        return Amounts(body, unit, moved)
    parts = texts[odd].str.replace("\u2212", "-", regex=False).str.extract(_AMOUNT).fillna("")
    marks = parts["first"] + parts["second"] + parts["last"]
    known = parts["body"].ne("") & marks.isin(("", "+", "-", "()"))
    parts, marks = parts[known], marks[known]
    minus = marks.isin(("-", "()"))
    body[parts.index] = parts["body"].mask(minus, "-" + parts["body"])
    unit[parts.index] = parts["before"] + parts["after"] + parts["behind"]
    moved[parts.index] = minus & (parts["first"].ne("-") | parts["before"].ne(""))
    return Amounts(body, unit, moved)
