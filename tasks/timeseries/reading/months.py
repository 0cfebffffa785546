"""Years in one column and months in another: a date that has to be joined."""

from __future__ import annotations

import re

from gated.errors import UserError
from tasks.timeseries.reading.rows import ROUGHLY, Rows
from tasks.timeseries.reading.source import Source

_MONTH_COLUMN = re.compile(r"mm?|mo|mon.*|mois|mes|mese", re.IGNORECASE)
_MONTHS = frozenset(
    (
        *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
        *("november", "december", "januar", "janner", "februar", "marz", "maerz", "mai", "juni", "juli", "oktober"),
        *("dezember", "janvier", "fevrier", "mars", "avril", "juin", "juillet", "aout", "septembre", "octobre"),
        *("novembre", "decembre", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
        *("mrz", "okt", "dez", "janv", "fev", "fevr", "avr", "juil"),
    )
)
"""Names of months in English, German and French, without accents."""


def check_months(rows: Rows, names: list[str], ids: list[str]) -> None:
    """Raise an error where the axis holds years alone, and another column the months."""
    if rows.axis.form.pattern != "%Y" or not rows.stacked:
        return
    for name in names:
        if _holds_months(rows.source, name):
            if any(rows.repeated(other) <= ROUGHLY for other in ids if other != name):
                return
            raise UserError(
                f"column {rows.axis.column!r} holds years alone, and column {name!r} the months",
                expected="the whole date in one column",
                found=f"{len(rows.times)} rows for {rows.days} year(s)",
                hint="join year and month into one column of dates such as 2024-01 (2024-01-31 if there is a day too)",
            )


def _holds_months(source: Source, name: str) -> bool:
    texts, _ = source.as_text(name)
    if _MONTH_COLUMN.fullmatch(name) and texts.str.fullmatch(r"0?[1-9]|1[0-2]").all():
        return len(texts) > 1
    if not 1 < len(texts) <= len(_MONTHS):
        return False
    plain = texts.str.normalize("NFKD").str.replace("[\u0300-\u036f.]", "", regex=True).str.lower()
    return bool(plain.isin(_MONTHS).all())
