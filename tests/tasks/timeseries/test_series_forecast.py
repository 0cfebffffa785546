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
from tasks.timeseries.baselines import evaluate
from tasks.timeseries.data import SeriesTable, TableWindows
from tasks.timeseries.forecast import Forecaster
from tasks.timeseries.models import Gateformer
from tasks.timeseries.study import MODEL, Recipe, Score, Study, plan, train_on
from tasks.timeseries.table import read_table

QUICK = ["--epochs", "2", "--seed", "1"]


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
    score = evaluate({"net": module.net}, data.windows(prefix))["net"]
    for metrics in logged:
        assert metrics[f"{prefix}/mse"] == pytest.approx(score.mse, rel=1e-5)
        assert metrics[f"{prefix}/mae"] == pytest.approx(score.mae, rel=1e-5)


def test_forecaster_refuses_unknown_loss():
    with pytest.raises(UserError, match="'mse' or 'mae'"):
        Forecaster(network(), loss="rmse")


def test_training_learns_the_week_and_keeps_the_best_weights(sales_csv):
    table = read_table(sales_csv)
    recipe = Recipe(epochs=25, lr=3e-3, d_model=32, d_ff=32, dropout=0.1, seed=3)
    state = torch.random.get_rng_state()
    study = train_on(plan(table, 7, recipe), recipe, progress=False)
    assert torch.equal(state, torch.random.get_rng_state())
    assert study.scores[MODEL].mse < 0.5 * study.scores["repeat-last"].mse
    assert list(study.scores) == sorted(study.scores, key=lambda name: study.scores[name].mse)
    assert list(study.hindcast().index) == list(table.values.index[-7:])
    assert not study.net.training


def test_verdict_is_honest(sales_csv):
    def verdict(**scores: float) -> str:
        named = {name.replace("_", "-"): Score(mse, mse) for name, mse in scores.items()}
        return Study(None, None, {}, named).verdict()

    assert verdict(Gateformer=1.0, linear=2.0, seasonal=4.0, repeat_last=9.0) == (
        "Gateformer beats the linear and the seasonal: its squared error is 50% below that of the linear."
    )
    assert "does not beat the linear, though it beats the seasonal" in verdict(Gateformer=3.0, linear=2.0, seasonal=4.0)
    assert "does not beat the linear and the seasonal:" in verdict(Gateformer=5.0, linear=2.0, seasonal=4.0)
    assert verdict(Gateformer=5.0, linear=2.0, seasonal=4.0).endswith("prefer the linear.")


def test_command_trains_compares_and_writes(sales_csv, tmp_path, capsys):
    out, plot = tmp_path / "out" / "ahead.csv", tmp_path / "out" / "ahead.png"
    code = main(
        ["timeseries", "forecast", str(sales_csv), "--horizon", "7", "-o", str(out), "--plot", str(plot), *QUICK]
    )
    said = capsys.readouterr().out
    assert code == 0
    assert "160 rows from 2024-01-29 to 2024-07-06" in said
    for name in ("Gateformer", "linear model", "seasonal-naive (7)", "repeat-last"):
        assert name in said
    assert "Gateformer beats" in said or "Gateformer does not beat" in said
    ahead = pd.read_csv(out)
    assert list(ahead.columns) == ["day", "sold", "visits"]
    assert list(ahead["day"]) == [f"2024-07-{day:02}" for day in range(7, 14)]
    assert ahead["sold"].between(10, 30).all()
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.parent.iterdir()) == ["ahead.csv", "ahead.png"]


def test_command_keeps_semicolons_commas_and_german_dates(sales, tmp_path):
    csv = tmp_path / "absatz.csv"
    sales["day"] = sales["day"].dt.strftime("%d.%m.%Y")
    sales.to_csv(csv, index=False, sep=";", decimal=",", float_format="%.3f")
    out = tmp_path / "ahead.csv"
    assert (
        main(["timeseries", "forecast", str(csv), "--horizon", "3", "-o", str(out), "--target", "visits", *QUICK]) == 0
    )
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
        expected = data.scaler.unscale(network()(data.values_TN[-14:][None])[0, :5])
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
    assert "at least 195 rows" in refused(capsys, str(sales_csv), *rest, "60")
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
    with pytest.raises(UserError, match="at least 30 rows") as short:
        gated.forecast(sales.iloc[:29], 5)
    assert "29 rows" in str(short.value)
    assert len(gated.forecast(sales.iloc[:30], 5, epochs=1)) == 5


def test_gated_forecast_returns_the_layout_it_was_given(sales):
    options = {"epochs": 2, "seed": 0, "d_model": 16}
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
    with pytest.raises(UserError, match="epochs can't be used"):
        gated.forecast(sales, 7, checkpoint=folder, epochs=3)
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        gated.forecast(sales, 7, epoch=3)


def test_same_seed_same_forecast(sales):
    first, again, other = (gated.forecast(sales, 5, epochs=1, seed=seed) for seed in (4, 4, 5))
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
