from __future__ import annotations

from dataclasses import replace

import pandas as pd

from tasks.timeseries import demo
from tasks.timeseries.recipe import Recipe


def test_demo_forecasts_draws_and_beats_seasonal_naive(tmp_path, monkeypatch):
    """The real demo with fewer epochs; already these are enough."""
    short = replace(Recipe(), steps=60, d_model=32, lr=3e-3)
    monkeypatch.setattr(demo, "Recipe", lambda: short)
    section = demo.run(tmp_path)
    assert section.metrics["Gateformer: test MSE"] < section.metrics["seasonal-naive (52): test MSE"]
    assert round(section.metrics["repeat-last: test MSE"], 4) == 6.2133
    assert "170 windows" in section.text
    ahead = pd.read_csv(tmp_path / "forecast.csv")
    assert list(ahead["date"].iloc[[0, -1]]) == ["2020-07-07 00:00:00", "2020-12-15 00:00:00"]
    assert [path.name for path, _ in section.figures] == ["held_out.png", "forecast.png", "gates.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path, _ in section.figures)
