"""Write the tables of the results in the tree into docs/forecasting.md, each between its two marks.

The command is ``python -m benchmarks.timeseries.render``; the benchmarks end with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "forecasting.md"


def page() -> str:
    """Return the page with the tables of the results in the tree."""
    text = PAGE.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"the page must hold {begin} and {end} once")
        text = pattern.sub(f"{begin}\n{_markdown(make())}\n{end}", text)
    return text


def coverage() -> pd.DataFrame:
    frame = _read("timeseries_coverage").query("chosen == 'yes'")
    frame["borders"] = frame["borders"].map({"benchmark": "of the benchmark", "tool": "of the command"})
    table = frame.pivot(index=["data", "borders", "horizon", "method"], columns="level", values="coverage")
    table = (100 * table).round(1).astype(str) + " %"
    return table.rename(columns=lambda level: f"of {level} %").reset_index()


def competitions() -> pd.DataFrame:
    frame = _read("timeseries_competitions").fillna("")
    names = {"val_MAE": "MAE, validation", "MAE": "MAE, test", "MASE": "MASE, test", "sMAPE": "sMAPE, test"}
    return frame[["data", "method", "chosen", *names]].rename(columns=names)


def long_horizon() -> pd.DataFrame:
    frame = _read("timeseries").query("horizon == 'mean' and study != 'ablation'")
    return pd.DataFrame(
        {
            "data": frame["data"],
            "look-back": frame["look_back"].map(lambda steps: "" if pd.isna(steps) else f"{steps:.0f}"),
            "study": frame["study"],
            "method": frame["variant"].fillna("Gateformer"),
            "seeds": frame["seeds"],
            "MSE": _spread(frame, "test_mse"),
            "MAE": _spread(frame, "test_mae"),
        }
    ).sort_values(["data", "look-back", "study"], kind="stable")


def choice() -> pd.DataFrame:
    """Candidates that have run at all four horizons, the best of a data set and look-back first."""
    runs = _read("timeseries_choice")
    of_one = runs.groupby(["config", "look_back", "variant"])["val_mse"].agg(["mean", "count"]).reset_index()
    full = of_one[of_one["count"] == 4].sort_values(["config", "look_back", "mean"])
    return pd.DataFrame(
        {
            "data": full["config"],
            "look-back": full["look_back"],
            "candidate": full["variant"].str.removeprefix("512, "),
            "validation MSE": full["mean"].map("{:.4f}".format),
        }
    )


def ablation() -> pd.DataFrame:
    frame = _read("timeseries").query("study == 'ablation'")
    return pd.DataFrame(
        {
            "changed": frame["variant"],
            "seeds": frame["seeds"],
            "MSE": _spread(frame, "test_mse"),
            "MAE": _spread(frame, "test_mae"),
        }
    )


def _spread(frame: pd.DataFrame, name: str) -> list[str]:
    pairs = zip(frame[f"{name}_mean"], frame[f"{name}_std"], strict=True)
    return [f"{mean:.4f}" + ("" if pd.isna(std) else f" ± {std:.4f}") for mean, std in pairs]


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"{name}.csv")


def _markdown(table: pd.DataFrame) -> str:
    rows = [[str(cell) for cell in row] for row in table.itertuples(index=False)]
    lines = [table.columns.astype(str), ["---"] * table.shape[1], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "coverage": coverage,
    "competitions": competitions,
    "long horizon": long_horizon,
    "choice": choice,
    "ablation": ablation,
    "speed": lambda: _read("timeseries_speed").rename(columns=lambda name: name.replace("_", " ")),
    "scale": lambda: _read("timeseries_scale"),
}


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
