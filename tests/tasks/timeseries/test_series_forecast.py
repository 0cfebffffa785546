from __future__ import annotations

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch

import gated
from gated.cli.main import main
from gated.engine.checkpoint import save_weights
from gated.errors import UserError
from tasks.timeseries.data import SeriesTable, TableWindows
from tasks.timeseries.forecast import Forecaster
from tasks.timeseries.methods import Linear, Origins
from tasks.timeseries.methods.network import Network, predict_at
from tasks.timeseries.models import Gateformer
from tasks.timeseries.reading import read_table
from tasks.timeseries.recipe import Recipe
from tasks.timeseries.study import compare
from tasks.timeseries.training import fit
from tasks.timeseries.windows import Batch

QUICK = ["--steps", "10", "--seed", "1"]


def network(input_size: int = 14, horizon: int = 7) -> Gateformer:
    torch.manual_seed(0)
    return Gateformer(
        input_size, horizon, d_model=16, d_ff=16, num_layers=1, num_heads=2, patch_size=7, stride=7
    ).eval()


def checkpoint(path, csv, **kwargs):
    data = SeriesTable(csv, input_size=14, horizon=7, **kwargs)
    return save_weights(network(), data.facts(), path)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize("stage", ["validate", "test"])
def test_logged_metrics_do_not_depend_on_batch_size(sales_csv, stage):
    module, logged = Forecaster(network()), []
    for batch_size in (1, 5, 64):
        data = SeriesTable(sales_csv, input_size=14, horizon=7, batch_size=batch_size)
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
        (metrics,) = getattr(trainer, stage)(module, datamodule=data, verbose=False)
        logged.append(metrics)
    prefix = {"validate": "val", "test": "test"}[stage]
    windows = data.windows(prefix)
    batch = windows.__getitems__(range(len(windows)))
    with torch.no_grad():
        miss = module.net(batch.x) - batch.y
    for metrics in logged:
        assert metrics[f"{prefix}/mse"] == pytest.approx(float(miss.square().mean()), rel=1e-5)
        assert metrics[f"{prefix}/mae"] == pytest.approx(float(miss.abs().mean()), rel=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*torch.jit")
def test_compiled_training_ends_with_the_forecasts_of_plain_training(sales_csv):
    ends, x = [], torch.randn(8, 14, 2)
    for compiled in (False, True):
        torch.manual_seed(0)
        net = Gateformer(14, 7, d_model=16, d_ff=16, num_layers=1, num_heads=2, patch_size=7, stride=7, dropout=0.0)
        data = SeriesTable(sales_csv, input_size=14, horizon=7, batch_size=16)
        options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        L.Trainer(max_epochs=2, **options).fit(Forecaster(net, compile=compiled), datamodule=data)
        # neither validation nor the smaller last batch is worth a compilation of its own
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - before == compiled
        with torch.no_grad():
            ends.append(net.eval()(x))
    # not the weights: a bias of the keys, whose gradient is rounding errors alone, goes where they say
    torch.testing.assert_close(ends[1], ends[0], atol=1e-4, rtol=1e-4)


def test_forecaster_refuses_unknown_loss():
    with pytest.raises(UserError, match="'mse' or 'mae'"):
        Forecaster(network(), loss="rmse")


@pytest.mark.parametrize(("loss", "options"), [("mse", {}), ("mae", {}), ("quantile", {"quantiles": [0.1, 0.5, 0.9]})])
@pytest.mark.parametrize("normalize", [False, True])
def test_missing_targets_count_neither_in_the_loss_nor_in_its_gradient(loss, options, normalize):
    torch.manual_seed(0)
    module = Forecaster(Gateformer(14, 7, d_model=16, d_ff=16, num_layers=1, num_heads=2, **options), loss=loss)
    module.normalize = normalize
    module.log = lambda *args, **kwargs: None
    x, y = torch.randn(4, 14, 2), torch.randn(4, 7, 2)
    y[0] = y[1, 3:] = y[2, :, 1] = float("nan")
    module.eval()
    results = []
    for filled in (y, y[1:]):  # a window without any target changes nothing
        module.zero_grad()
        value = module.training_step(Batch(x[-len(filled) :], filled), 0)
        value.backward()
        results.append((value, module.net.projection.weight.grad.clone()))
    for mine, others in zip(*results, strict=True):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine, others, atol=1e-6, rtol=1e-4)


def test_pinball_loss_is_that_of_scikit_learn():
    from sklearn.metrics import mean_pinball_loss

    net = Gateformer(14, 7, d_model=16, d_ff=16, num_layers=1, num_heads=2, quantiles=[0.1, 0.5, 0.9]).eval()
    module, x, y = Forecaster(net, loss="quantile"), torch.randn(4, 14, 1), torch.randn(4, 7, 1)
    module.log = lambda *args, **kwargs: None
    with torch.no_grad():
        ours, ahead = float(module.training_step(Batch(x, y), 0)), net(x)
    theirs = [mean_pinball_loss(y.ravel(), ahead[..., i].ravel(), alpha=q) for i, q in enumerate((0.1, 0.5, 0.9))]
    assert ours == pytest.approx(np.mean(theirs), rel=1e-5)


def test_training_learns_the_week(sales_csv):
    table = read_table(sales_csv)
    state = torch.random.get_rng_state()
    study = compare(table, 7, recipe=Recipe(steps=60, seed=3))
    assert torch.equal(state, torch.random.get_rng_state())
    test = study.backtest.leaderboard()["test"]["MAE"]
    assert test["Gateformer"] < 0.5 * test["repeat-last"]
    assert not study.backtest.methods["Gateformer"].net.training


def test_training_takes_one_thread_and_gives_the_others_back(sales_csv, monkeypatch):
    seen, threads = [], torch.get_num_threads()
    step = Forecaster.training_step
    monkeypatch.setattr(Forecaster, "training_step", lambda *x: seen.append(torch.get_num_threads()) or step(*x))
    torch.set_num_threads(2)
    try:
        data = SeriesTable(sales_csv, input_size=14, horizon=7)
        fit(network(), data, epochs=1, seed=0, progress=False)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_shortcut_starts_as_the_fitted_linear_map_and_weights_that_are_given_stay(sales_csv):
    data = SeriesTable(sales_csv, input_size=14, horizon=7)
    options = {"d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "patch_size": 7, "stride": 7}
    net = Gateformer(14, 7, shortcut=True, **options)
    training = {"epochs": 1, "seed": 0, "progress": False, "lr": 0.0}
    fit(net, data, **training)
    linear = Linear(14)
    linear.fit(data.table, 7, data.borders.train)
    there = Origins(np.zeros(3, dtype=int), np.array([130, 140, 150]))
    ours = predict_at(net, data.table, data.scaler, 7, there)
    np.testing.assert_allclose(ours, linear.predict(data.table, 7, there), rtol=1e-4)
    net.start_from_linear(torch.ones(14, 7))
    fit(net, data, **training)
    assert (net.shortcut.weight == 1).all()


def test_network_learns_from_the_training_rows_alone(sales_csv):
    """Later rows may be anything: the forecast of the rows that follow the training rows stays the same."""
    forecasts = []
    for later in (0.0, 1e4):
        table = read_table(sales_csv)
        table.values.iloc[120:] += later
        network, train = Network(Recipe(steps=5)), np.array([120])
        network.fit(table, 7, train)
        forecasts.append(network.predict(table, 7, Origins(np.array([0]), train)))
    np.testing.assert_array_equal(*forecasts)


def test_what_is_known_ahead_is_used():
    """Sales that jump on promotion days, of thirty shops of unequal length: only the known promotions tell when."""
    rng = np.random.default_rng(0)
    frames = []
    for shop in range(30):
        day = np.arange(rng.integers(80, 200) + 14)
        promo = (rng.random(len(day)) < 0.2).astype(float)
        sold = rng.uniform(10, 1000) * (1 + 0.3 * np.sin(2 * np.pi * day / 7) + 0.5 * promo)
        sold[-14:] = np.nan
        dates = pd.date_range("2024-01-01", periods=len(day))
        frames.append(pd.DataFrame({"unique_id": f"shop {shop}", "ds": dates, "y": sold, "promo": promo}))
    frame = pd.concat(frames, ignore_index=True)
    ahead = gated.forecast(frame, 14, target="y", future=["promo"], model="Gateformer", steps=150, seed=0)
    assert list(ahead.columns) == ["unique_id", "ds", "Gateformer"]
    assert len(ahead) == 30 * 14
    joined = ahead.merge(frame, on=["unique_id", "ds"])
    level = frame.groupby("unique_id")["y"].mean()
    share = joined["Gateformer"] / joined["unique_id"].map(level)
    assert share[joined["promo"] == 1].mean() - share[joined["promo"] == 0].mean() > 0.3


def test_command_compares_and_writes(sales_csv, tmp_path, capsys):
    out, plot = tmp_path / "out" / "ahead.csv", tmp_path / "out" / "ahead.png"
    command = ["timeseries", "forecast", str(sales_csv), "--horizon", "7", "-o", str(out), "--plot", str(plot)]
    assert main([*command, "--level", "80", "95", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "160 rows from 2024-01-29 to 2024-07-06" in said
    for name in ("Gateformer", "linear", "seasonal-naive (7)", "repeat-last", " won on validation"):
        assert name in said
    assert "intervals of 80 % around" in said
    ahead = pd.read_csv(out)
    ends = ["lo-80", "hi-80", "lo-95", "hi-95"]
    assert list(ahead.columns) == [
        "day",
        *(f"{n}{e}" for n in ("sold", "visits") for e in ("", *(f"-{e}" for e in ends))),
    ]
    assert list(ahead["day"]) == [f"2024-07-{day:02}" for day in range(7, 14)]
    assert ahead["sold"].between(10, 30).all()
    order = ahead[["sold-lo-95", "sold-lo-80", "sold", "sold-hi-80", "sold-hi-95"]].to_numpy()
    assert (np.diff(order) >= 0).all()
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.parent.iterdir()) == ["ahead.csv", "ahead.png"]


def test_backtest_command_writes_every_forecast(sales_csv, tmp_path, capsys):
    out = tmp_path / "forecasts.csv"
    assert main(["timeseries", "backtest", str(sales_csv), "--horizon", "7", "-o", str(out), *QUICK]) == 0
    said = capsys.readouterr().out
    assert "won on validation" in said
    assert "next: gated timeseries forecast" in said
    frame = pd.read_csv(out)
    assert list(frame.columns[:4]) == ["unique_id", "ds", "cutoff", "y"]
    assert set(frame["unique_id"]) == {"sold", "visits"}
    assert {"Gateformer", "linear", "repeat-last"} <= set(frame.columns)
    assert (pd.to_datetime(frame["ds"]) > pd.to_datetime(frame["cutoff"])).all()


def test_method_may_be_asked_for(sales, sales_csv, tmp_path, capsys):
    out = tmp_path / "ahead.csv"
    command = ["timeseries", "forecast", str(sales_csv), "--horizon", "7", "-o", str(out), *QUICK]
    assert main([*command, "--model", "repeat-last", "--level"]) == 0
    assert "repeat-last forecasts, as asked for" in capsys.readouterr().out
    assert pd.read_csv(out)["sold"].tolist() == [round(sales["sold"].iloc[-1], 2)] * 7
    assert "did you mean 'repeat-last'" in refused(capsys, *command[2:], "--model", "repeat-lst")


def test_command_keeps_semicolons_commas_and_german_dates(sales, tmp_path):
    csv = tmp_path / "absatz.csv"
    sales["day"] = sales["day"].dt.strftime("%d.%m.%Y")
    sales.to_csv(csv, index=False, sep=";", decimal=",", float_format="%.3f")
    out = tmp_path / "ahead.csv"
    command = ["timeseries", "forecast", str(csv), "--horizon", "3", "-o", str(out)]
    assert main([*command, "--target", "visits", "--level", *QUICK]) == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "day;visits"
    assert len(lines) == 4
    date, value = lines[1].split(";")
    assert date == "07.07.2024"
    assert value.count(",") == 1
    assert len(value.split(",")[1]) == 3


def test_command_with_checkpoint(sales_csv, tmp_path, capsys):
    folder, out = checkpoint(tmp_path / "ckpt", sales_csv), tmp_path / "ahead.csv"
    command = ["timeseries", "forecast", str(sales_csv), "--ckpt", str(folder), "-o", str(out)]
    assert main([*command, "--horizon", "5"]) == 0
    data = SeriesTable(sales_csv, input_size=14, horizon=7)
    with torch.no_grad():
        last = data.windows("test").at(np.array([0]), data.table.lengths)
        expected = data.scaler.unscale(network()(last.x)[0, :5])
    np.testing.assert_allclose(pd.read_csv(out)[["sold", "visits"]], expected, atol=0.006)
    assert main([*command, "--horizon", "5", "--target", "visits"]) == 0
    assert list(pd.read_csv(out).columns) == ["day", "visits"]


def refused(capsys, *argv: str) -> str:
    """Run a command that must end with one message; return it."""
    assert main(["timeseries", "forecast", *argv]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    return said.err


def test_command_errors_leave_no_file(sales_csv, sales, tmp_path, capsys):
    out = tmp_path / "out" / "f.csv"
    rest = ["-o", str(out), "--horizon"]
    assert "at least 180 rows" in refused(capsys, str(sales_csv), *rest, "60")
    assert "horizon must be positive" in refused(capsys, str(sales_csv), *rest, "0")
    assert "did you mean 'sold'" in refused(capsys, str(sales_csv), *rest, "7", "--target", "sol")
    assert "not found" in refused(capsys, str(tmp_path / "no.csv"), *rest, "7")
    assert "expected: .csv" in refused(capsys, str(sales_csv), "--horizon", "7", "-o", str(tmp_path / "out" / "f.xlsx"))
    assert "overwrite the input" in refused(capsys, str(sales_csv), "--horizon", "7", "-o", str(sales_csv))
    folder = str(checkpoint(tmp_path / "ckpt", sales_csv))
    assert "a horizon of 1 to 7" in refused(capsys, str(sales_csv), *rest, "8", "--ckpt", folder)
    sales.rename(columns={"visits": "guests"}).to_csv(tmp_path / "renamed.csv", index=False)
    said = refused(capsys, str(tmp_path / "renamed.csv"), *rest, "7", "--ckpt", folder)
    assert "no column 'visits'" in said
    sales.assign(day=pd.date_range("2024", periods=160, freq="h")).to_csv(tmp_path / "hourly.csv", index=False)
    assert "another frequency" in refused(capsys, str(tmp_path / "hourly.csv"), *rest, "7", "--ckpt", folder)
    sales.iloc[:10].to_csv(tmp_path / "short.csv", index=False)
    assert "at least 14 rows" in refused(capsys, str(tmp_path / "short.csv"), *rest, "7", "--ckpt", folder)
    assert "does not forecast 'solt'" in refused(
        capsys, str(sales_csv), *rest, "7", "--ckpt", folder, "--target", "solt"
    )
    assert not out.parent.exists()


def test_smallest_table_that_is_accepted_works(sales):
    with pytest.raises(UserError, match="at least 15 rows") as short:
        gated.forecast(sales.iloc[:14], 5)
    assert "14 rows" in str(short.value)
    assert len(gated.forecast(sales.iloc[:15], 5, steps=1)) == 5


def test_gated_forecast_returns_the_layout_it_was_given(sales):
    options = {"steps": 5, "seed": 0, "d_model": 16}
    ahead = gated.forecast(sales, 7, **options)
    assert list(ahead.columns) == ["day", "sold", "visits"]
    assert ahead["day"].dtype == sales["day"].dtype
    assert ahead["day"].iloc[0] == pd.Timestamp("2024-07-07")
    by_index = gated.forecast(sales.set_index("day"), 7, **options)
    np.testing.assert_array_equal(by_index["sold"].to_numpy(), ahead["sold"].to_numpy())
    assert by_index.index.name == "day"
    as_text = gated.forecast(sales.assign(day=sales["day"].dt.strftime("%d/%m/%Y")), 7, target="sold", **options)
    assert list(as_text.columns) == ["day", "sold"]
    assert as_text["day"].iloc[0] == "07/07/2024"


def test_gated_forecast_with_checkpoint(sales, sales_csv, tmp_path):
    folder = checkpoint(tmp_path / "ckpt", sales_csv)
    assert gated.forecast(sales, 7, checkpoint=folder).shape == (7, 3)
    with pytest.raises(UserError, match="steps can't be used"):
        gated.forecast(sales, 7, checkpoint=folder, steps=3)
    with pytest.raises(UserError, match="did you mean 'steps'"):
        gated.forecast(sales, 7, step=3)


def test_same_seed_same_forecast(sales):
    first, again, other = (gated.forecast(sales, 5, model="Gateformer", steps=5, seed=seed) for seed in (4, 4, 5))
    pd.testing.assert_frame_equal(first, again)
    assert not first["sold"].equals(other["sold"])


def test_model_is_built_by_name():
    net = gated.create_model("gateformer", input_size=96, horizon=96, d_model=64, d_ff=64, num_layers=1, num_heads=4)
    assert isinstance(net, Gateformer)
    assert sum(p.numel() for p in net.parameters()) == 133_344


def test_demo_data_is_the_table_it_should_be():
    table = read_table("national_illness")
    assert table.values.shape == (966, 7)
    assert table.frequency == "W-TUE"
    assert len(TableWindows(table, input_size=104, horizon=24).windows("test")) == 170


def test_dropping_the_last_batch_would_change_the_published_number():
    """The shipped influenza series: 6.2133 over all test windows, 6.5871 where a loader of 32 drops the rest."""
    windows = SeriesTable("national_illness", input_size=36, horizon=24).windows("test")
    assert len(windows) == 170
    for count, published in ((170, 6.2133), (160, 6.5871)):
        batch = windows.__getitems__(range(count))
        assert float((batch.x[:, -1:] - batch.y).square().mean()) == pytest.approx(published, abs=5e-5)
