"""``gated timeseries check-data``: what is read from a CSV, what was repaired, and what to type next."""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np
import pandas as pd

from gated.cli.main import Parser
from tasks.timeseries.dates import season_of
from tasks.timeseries.reading import read_table
from tasks.timeseries.reading.options import OPTIONS, add_reading_options, reading_options
from tasks.timeseries.reading.summary import constant
from tasks.timeseries.table import Table

_SHOWN = 8


def main(argv: list[str]) -> int:
    """``gated timeseries check-data``."""
    parser = Parser("gated timeseries check-data", description="Read a CSV and say what is in it, without forecasting.")
    parser.add_argument("csv", metavar="CSV", help="wide (a column each series) or long (series stacked)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_reading_options(parser)
    args = parser.parse_args(argv)
    options = reading_options(args)
    table = read_table(args.csv, **options)
    next_step = _next_step(args.csv, options, table)
    if args.json:
        print(json.dumps({**facts(table), "next": next_step}, indent=2, ensure_ascii=False))
    else:
        print(f"{report(table)}\n\nnext: {next_step}")
    return 0


def facts(table: Table) -> dict[str, Any]:
    """Return what is known of a table, in words and numbers alone."""
    missing = np.isnan(table.values.to_numpy()).mean(axis=0)
    first, last = _ends(table)
    return {
        "rows": len(table.values),
        "layout": "wide" if table.layout.id_column is None else "long",
        "date_column": table.layout.date_column,
        "id_column": table.layout.id_column,
        "series": len(table.columns) * len(table.ids),
        "targets": table.columns,
        "ids": list(table.ids) if table.layout.id_column is not None else [],
        "past": list(table.past),
        "future": list(table.future),
        "static": [] if table.static is None else [str(name) for name in table.static.columns],
        "rows_known_ahead": 0 if table.ahead is None else table.ahead.shape[1],
        "shortest_series": int(table.lengths.min()),
        "longest_series": int(table.lengths.max()),
        "first": first,
        "last": last,
        "frequency": table.frequency,
        "season": season_of(table.frequency),
        "missing": {str(name): float(share) for name, share in zip(table.values.columns, missing, strict=True)},
        "constant": constant(table),
        "notes": list(table.notes),
    }


def report(table: Table) -> str:
    """Return what is known of a table as lines of text."""
    known = facts(table)
    lines = [("rows", str(known["rows"]))]
    if known["layout"] == "wide":
        lines.append(("series", f"{known['series']}, a column each: {_some(known['targets'])}"))
    else:
        lines.append(("series", f"{len(known['ids'])} in column {known['id_column']!r}: {_some(known['ids'])}"))
        lines.append(("targets", _some(known["targets"])))
        lines.append(("length", f"{known['shortest_series']} to {known['longest_series']} rows"))
    lines += [(kind, _some(known[kind])) for kind in ("past", "future", "static") if known[kind]]
    if known["future"]:
        lines.append(("known ahead", f"{known['rows_known_ahead']} rows"))
    step = f"a row every {known['frequency']}"
    lines.append(("dates", f"{known['first']} to {known['last']}, {step}"))
    lines.append(("season", f"{known['season']} rows" if known["season"] > 1 else "none assumed"))
    holes = [f"{name} {share:.1%}" for name, share in known["missing"].items() if share]
    lines.append(("missing", _some(holes, quoted=False) if holes else "nothing"))
    if known["constant"]:
        lines.append(("constant", _some(known["constant"])))
    lines += [("repaired" if place == 0 else "", note) for place, note in enumerate(known["notes"])]
    if not known["notes"]:
        lines.append(("repaired", "nothing"))
    width = max(len(key) for key, _ in lines)
    return "\n".join(f"{key:<{width}}  {text}" for key, text in lines)


def _ends(table: Table) -> tuple[str, str]:
    index = table.values.index
    ends = index.take([int(index.argmin()), int(index.argmax())])
    first, last = table.layout.date_format.write(ends if isinstance(index, pd.DatetimeIndex) else pd.Index(ends))
    return first, last


def _next_step(csv: str, options: dict[str, Any], table: Table) -> str:
    """Return the command that forecasts the table, with the options it was read with."""
    horizon = table.ahead.shape[1] if table.ahead is not None else season_of(table.frequency)
    horizon = max(1, min(horizon if horizon > 1 else 12, int(table.lengths.max()) // 5))
    words = ["gated", "timeseries", "forecast", csv, "--horizon", str(horizon)]
    for name in OPTIONS:
        value, flag = options[name], "--" + name.replace("_", "-")
        if name == "day_first" and value is not None:
            words.append(flag if value else "--no-day-first")
        elif value is not None:
            words += [flag, *(value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _some(names: list[str], *, quoted: bool = True) -> str:
    shown = ", ".join(repr(name) if quoted else name for name in names[:_SHOWN])
    return shown + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")
