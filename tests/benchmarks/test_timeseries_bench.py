"""The benchmarks of forecasting: every run that is listed can be built, and no figure on the page was typed by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.timeseries import long_horizon, render, scale
from benchmarks.timeseries.jobs import HORIZONS, STUDIES, Job, jobs
from benchmarks.timeseries.plain import PlainGateformer
from benchmarks.timeseries.summary import summarise
from gated.registry import build
from tasks.timeseries.data import TableWindows
from tasks.timeseries.models import Gateformer
from tasks.timeseries.reading import read_table

VARIANTS = {(job.study, job.config, job.variant): job for study in (*STUDIES, "choice") for job in jobs(study)}


def test_tables_on_the_page_are_those_of_the_results() -> None:
    assert render.PAGE.read_text(encoding="utf-8") == render.page(), "run `python -m benchmarks.timeseries.render`"


def test_every_study_covers_its_horizons_and_no_run_is_listed_twice() -> None:
    for study in (*STUDIES, "choice"):
        keys = [job.key for job in jobs(study)]
        assert len(keys) == len(set(keys))
        assert all(job.judged for job in jobs(study)) == (study != "choice")
    listed = {(job.config, job.horizon) for job in jobs("ours")}
    assert listed == {(config, horizon) for config, horizons in HORIZONS.items() for horizon in horizons}


@pytest.mark.parametrize("job", VARIANTS.values(), ids=["-".join(filter(None, names)) for names in VARIANTS])
def test_every_run_can_be_built(job: Job) -> None:
    spec, loss, options, trainer, patience = long_horizon.setting(job)
    net = build(spec)
    length = spec["init_args"]["input_size"]
    assert net(torch.randn(2, length, 3)).shape == (2, job.horizon, 3)
    assert {"loss", "lr"} <= set(loss)
    assert {"split", "batch_size"} <= set(options)
    assert min(trainer["max_epochs"], patience) > 0


def test_errors_are_means_over_every_window_whatever_the_batch() -> None:
    data = TableWindows(read_table("national_illness"), input_size=36, horizon=24)
    net = Gateformer(36, 24, d_model=8, d_ff=8, num_layers=1, num_heads=2).eval()
    windows = data.windows("test")
    batch = windows.__getitems__(range(len(windows)))
    with torch.no_grad():
        miss = net(batch.x) - batch.y
    expected = pytest.approx((float(miss.square().mean()), float(miss.abs().mean())), rel=1e-5)
    assert long_horizon.errors(net, windows) == expected
    assert long_horizon.errors(net, windows, batch_size=7) == expected


def test_deviation_of_a_mean_over_horizons_is_that_of_the_means_of_seeds() -> None:
    lines = [
        {"study": "ours", "config": "ili", "variant": None, "look_back": 104, "seed": seed, "horizon": str(horizon)}
        | {"test_mse": horizon + seed, "test_mae": 1.0}
        for seed in (0, 1)
        for horizon in HORIZONS["ili"]
    ]
    table = summarise(pd.DataFrame(lines)).set_index("horizon")
    assert table.loc["24", "test_mse_mean"] == 24.5
    assert table.loc["mean", "test_mse_mean"] == 42.5
    assert table.loc["mean", "test_mse_std"] == pytest.approx(0.5**0.5, abs=1e-4)
    assert table["seeds"].eq(2).all()


def test_the_plain_composition_has_the_weights_of_ours() -> None:
    sizes = {"d_model": 16, "d_ff": 32, "num_layers": 2, "num_heads": 4, "patch_size": 8, "stride": 4, "dropout": 0.1}
    plain, ours = PlainGateformer(96, 24, **sizes), Gateformer(96, 24, **sizes)
    assert plain(torch.randn(2, 96, 3)).shape == (2, 24, 3)
    count = [sum(parameter.numel() for parameter in net.parameters()) for net in (plain, ours)]
    assert count[0] == count[1]


def test_the_table_of_many_series_is_read_whole(tmp_path: Path) -> None:
    scale.write_table(tmp_path / "many.csv", series=5, rows=40)
    table = read_table(tmp_path / "many.csv")
    assert len(table.ids) == 5
    assert set(table.lengths) == {40}
    assert not table.notes
