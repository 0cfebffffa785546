"""What was read, before any of it is understood: columns of text or numbers, and where each row stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

MISSING = frozenset(
    (
        *("", "na", "n/a", "#n/a", "#na", "<na>", "nan", "null", "(null)", "none", "nil", "missing", "nat"),
        *("-", "--", "?", ".", "..", "#value!", "#div/0!", "#ref!"),
    )
)
"""What people write where there is no value, in lower case."""
_SHOWN = 5


@dataclass(frozen=True)
class Source:
    """The cells of a CSV or a frame.

    Attributes:
        frame: a column is categorical (stripped text), float64 or datetime64; its index counts the rows.
        places: ``[R]``, where each row stands: its line in the file, or its number in the frame.
        unit: what ``places`` counts.
        delimiter: between cells.
        encoding: of the file.
        notes: what was repaired.
    """

    frame: pd.DataFrame
    places: np.ndarray
    unit: str = "line"
    delimiter: str = ","
    encoding: str = "utf-8"
    notes: tuple[str, ...] = ()

    def at(self, rows: Iterable[int]) -> str:
        """Name rows for a message, the first few of them."""
        rows = list(rows)
        shown = ", ".join(f"{self.unit} {self.places[row]}" for row in rows[:_SHOWN])
        return shown + (", ..." if len(rows) > _SHOWN else "")

    def is_text(self, name: str) -> bool:
        """Whether a column is kept as text, which may hold numbers all the same."""
        return isinstance(self.frame[name].dtype, pd.CategoricalDtype)

    def texts(self, name: str) -> pd.Series:
        """Return the different texts of a column, in the order of their codes."""
        return pd.Series(self.frame[name].cat.categories.to_numpy(), dtype=object)

    def codes(self, name: str) -> np.ndarray:
        """Return the place in :meth:`texts` of each row."""
        return np.asarray(self.frame[name].cat.codes)

    def as_text(self, name: str) -> tuple[pd.Series, np.ndarray]:
        """Return the different texts of a column and which of them each row has; numbers are written out."""
        if self.is_text(name):
            return self.texts(name), self.codes(name)
        values = self.frame[name]
        whole = values.dropna()
        if pd.api.types.is_float_dtype(values) and (whole.abs() < 2**53).all() and (whole % 1 == 0).all():
            values = values.astype("Int64")
        codes, uniques = pd.factorize(values.astype(object).where(values.notna(), ""))
        return pd.Series([str(value) for value in uniques], dtype=object), codes


def is_missing(texts: pd.Series) -> pd.Series:
    """Return which texts say that there is no value."""
    return texts.str.lower().isin(MISSING)


def categorical(texts: Iterable[str]) -> pd.Categorical:
    """Return stripped text as a categorical in order of appearance."""
    codes, uniques = pd.factorize(np.array(list(texts), dtype=object))
    return merged([codes], [uniques])


def merged(codes: list[np.ndarray], uniques: list[np.ndarray]) -> pd.Categorical:
    """Join pieces of a column, each factorised on its own, and strip the text."""
    together = np.array([text.strip() for piece in uniques for text in piece], dtype=object)
    places, categories = pd.factorize(together)
    joined = np.empty(sum(map(len, codes)), dtype=np.int32)
    start = row = 0
    for code, piece in zip(codes, uniques, strict=True):
        joined[row : row + len(code)] = places[start : start + len(piece)][code]
        start, row = start + len(piece), row + len(code)
    return pd.Categorical.from_codes(joined, categories=pd.Index(categories, dtype=object))
