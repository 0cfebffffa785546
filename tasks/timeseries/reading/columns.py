"""The columns that are used, as numbers: targets, and covariates of which text becomes 0/1 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gated.errors import UserError
from tasks.timeseries.reading.decimal_sign import DecimalSign
from tasks.timeseries.reading.numbers import NotNumbers, read_numbers
from tasks.timeseries.reading.options import Options
from tasks.timeseries.reading.sentinels import without_sentinels
from tasks.timeseries.reading.source import Source, is_missing

_MAX_CATEGORIES = 20
_YES = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


@dataclass
class Columns:
    """Columns as numbers, and what was said on the way.

    Attributes:
        values: name -> ``[R]`` float64.
        decimals: name -> digits after the decimal sign.
        notes: what was repaired or left out.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    decimals: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def matrix(self, names: Sequence[str]) -> np.ndarray:
        """Return columns side by side, ``[R, C]``."""
        return np.stack([self.values[name] for name in names], axis=1)


def read_targets(
    source: Source, names: Sequence[str], chosen: bool, decimal: DecimalSign, options: Options, into: Columns
) -> tuple[str, ...]:
    """Read the columns to forecast; return those that hold numbers.

    Args:
        source: the table.
        names: the columns.
        chosen: whether the user named them; if not, those without numbers are left out.
        decimal: the decimal sign.
        options: names marks of missing values.
        into: where the numbers go.

    Raises:
        UserError: a column that the user named holds text or no value at all, or no column is left.
    """
    kept, text, empty = [], [], []
    for name in names:
        found = _numbers(source, name, decimal, options, into)
        reason = text if isinstance(found, NotNumbers) else empty if np.isnan(found).all() else kept
        reason.append(name)
        if reason is not kept and (chosen or len(names) == 1):
            raise _unusable(source, name, found)
    if not kept:
        raise UserError(
            "no column holds numbers",
            expected="a column of numbers beside the dates",
            found="the columns " + ", ".join(map(repr, names[:8])),
            hint="choose the column to forecast with --target to see what is wrong with it",
        )
    for left_out, why in ((text, "text"), (empty, "no value")):
        for name in left_out:
            into.values.pop(name, None)
        if left_out:
            into.notes.append(f"left out, they hold {why}: " + ", ".join(map(repr, left_out)))
    return tuple(kept)


def read_covariates(
    source: Source, names: Sequence[str], decimal: DecimalSign, options: Options, into: Columns
) -> tuple[str, ...]:
    """Read covariates; return their names, ``name=value`` for each category of text.

    Raises:
        UserError: a column of text has too many different ones, or a column has no value at all.
    """
    kept: list[str] = []
    for name in names:
        found = _numbers(source, name, decimal, options, into)
        if isinstance(found, NotNumbers):
            kept += _categories(source, name, into)
        elif np.isnan(found).all():
            raise _unusable(source, name, found)
        else:
            kept.append(name)
    return tuple(kept)


def _numbers(
    source: Source, name: str, decimal: DecimalSign, options: Options, into: Columns
) -> np.ndarray | NotNumbers:
    found = read_numbers(source, name, decimal, options.missing)
    if isinstance(found, NotNumbers):
        return found
    values, sentinels = without_sentinels(found.values)
    into.notes += found.notes
    if sentinels:
        said = ", ".join(f"{count} times {number}" for number, count in sentinels.items())
        into.notes.append(f"column {name!r}: {said} taken for missing values")
    into.values[name], into.decimals[name] = values, found.decimals
    return values


def _categories(source: Source, name: str, into: Columns) -> list[str]:
    texts, codes = source.as_text(name)
    absent = is_missing(texts)
    given = texts[~absent]
    yes = texts.str.lower().map(_YES)
    if yes[~absent].notna().all() and len(given):
        into.values[name] = yes.where(~absent).to_numpy(dtype=np.float64)[codes]
        into.notes.append(f"column {name!r}: yes and no as 1 and 0")
        return [name]
    if len(given) > _MAX_CATEGORIES or not len(given):
        raise UserError(
            f"column {name!r} holds text of too many kinds" if len(given) else f"column {name!r} holds no value",
            expected=f"numbers, or at most {_MAX_CATEGORIES} categories",
            found=f"{len(given)}, such as " + ", ".join(map(repr, given.iloc[:3])),
            hint="leave it out, or make numbers of it first",
        )
    made = []
    for place, text in sorted(given.items(), key=lambda item: str(item[1])):
        made.append(f"{name}={text}")
        into.values[made[-1]] = (codes == place).astype(np.float64)
    into.notes.append(f"column {name!r}: {len(made)} categories as 0/1 columns")
    return made


def _unusable(source: Source, name: str, found: np.ndarray | NotNumbers) -> UserError:
    if not isinstance(found, NotNumbers):
        return UserError(
            f"column {name!r} has no value at all",
            expected="numbers",
            found="empty cells alone",
            hint="leave it out, or choose the columns to forecast with --target",
        )
    texts, codes = source.as_text(name)
    return UserError(
        f"column {name!r} does not hold numbers: it holds text",
        expected="numbers, or empty cells",
        found=f"{texts[codes[found.rows[0]]]!r} in {source.at(found.rows)}",
        hint="choose the columns to forecast with --target, or say with --missing what stands for no value",
    )
