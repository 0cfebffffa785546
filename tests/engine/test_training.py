"""What a run leaves behind, and going on with it: resume is as if it had never stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from matplotlib.figure import Figure

from gated.cli.main import main
from gated.engine.run import draw_curves


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    for speaker in range(6):
        (root / f"{speaker}").mkdir()
        soundfile.write(root / f"{speaker}" / "a.wav", 0.1 * random.standard_normal(4000), 8000)
    return root


@pytest.fixture(scope="module")
def fit(recordings: Path):
    def run(out: Path, epochs: int, *extra: str) -> Path:
        before = set(out.glob("speech/t/*"))
        options = {
            "data.root": recordings,
            "data.val_speakers": 2,
            "data.test_speakers": 2,
            "data.seconds": 0.1,
            "data.train_mixtures": 8,
            "data.val_mixtures": 4,
            "data.test_mixtures": 4,
            "model.net.dim": 8,
            "model.net.depth": 1,
            "model.net.encoder_dim": 8,
            "model.warmup_steps": 1,
            "model.decay_fraction": 0,
            "trainer.max_epochs": epochs,
            "trainer.enable_progress_bar": False,
            "trainer.enable_model_summary": False,
            "out": out,
            "name": "t",
        }
        given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        code = main(["speech", "fit", "-c", "mossformer_demo", *given, *extra])
        assert code == 0
        (made,) = set(out.glob("speech/t/*")) - before
        return made

    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_curves_of_a_single_epoch_are_seen(tmp_path: Path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: drawn.append(figure) or path.touch())
    for epochs in (1, 2):
        rows = [f"{epoch},{10 * epoch},{1 / (1 + epoch)}" for epoch in range(epochs)]
        (tmp_path / "metrics.csv").write_text("\n".join(["epoch,step,val/loss", *rows]))
        draw_curves(tmp_path / "metrics.csv", tmp_path / f"{epochs}.png")
    marks = [[line.get_marker() for axis in figure.axes for line in axis.lines] for figure in drawn]
    assert marks == [["o"], ["None"]]


def test_a_run_leaves_everything_and_resume_is_as_if_it_had_never_stopped(tmp_path: Path, fit, capsys) -> None:
    whole = fit(tmp_path / "whole", 3)
    names = {str(p.relative_to(whole)) for p in whole.rglob("*") if p.is_file()}
    expected = {"config.yaml", "metrics.csv", "environment.json", "report.html", "figures/curves.png"}
    assert expected | {"checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    assert any(n.startswith("events.out.tfevents") for n in names)
    facts = json.loads((whole / "environment.json").read_text())
    assert facts["seed"] == 0
    assert facts["packages"]["torch"] == torch.__version__.split("+")[0] or facts["packages"]["torch"]
    assert yaml.safe_load((whole / "config.yaml").read_text())["model"]["init_args"]["net"]["init_args"]["dim"] == 8
    with (whole / "metrics.csv").open() as file:
        assert "val/si_sdri" in next(csv.reader(file))

    half = fit(tmp_path / "half", 2)
    resumed = fit(tmp_path / "half", 3, "--resume", "last")
    assert resumed != half
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name
    assert not all(torch.equal(t, weights(half)[n]) for n, t in weights(whole).items())

    # the command that `fit` prints as the next step
    capsys.readouterr()
    best = whole / "checkpoints" / "best.ckpt"
    assert main(["speech", "test", "-c", str(whole / "config.yaml"), "--ckpt", str(best)]) == 0
    assert "test/si_sdri" in capsys.readouterr().out

    # init-from takes weights only: with no training step left they come out as they went in
    started = fit(tmp_path / "init", 1, "--init-from", str(best), "--model.lr", "0")
    for name, tensor in torch.load(best, weights_only=True)["state_dict"].items():
        assert torch.equal(tensor, weights(started)[name]), name


def test_a_run_without_validation_keeps_its_last_weights(tmp_path: Path, fit, capsys) -> None:
    run = fit(tmp_path, 1, "--trainer.check_val_every_n_epoch", "5")
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    out = capsys.readouterr().out
    assert "no validation took place" in out
    assert f"--ckpt {run / 'checkpoints' / 'last.ckpt'}" in out


def test_a_checkpoint_holds_plain_data_only(tmp_path: Path, fit) -> None:
    run = fit(tmp_path, 1, "--model.net.mixer", "GatedAttentionUnit", "--model.net.mixer.qk_dim", "8")
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert json.loads(json.dumps(checkpoint["gated"])) == checkpoint["gated"]
    assert checkpoint["gated"]["net"]["init_args"]["mixer"]["class_path"] == "gated.core.mixers.GatedAttentionUnit"
    assert checkpoint["gated"]["facts"]["sample_rate"] == 8000


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--model.lrr", "1"], ["Separator has no option 'lrr'", "did you mean 'lr'"]),
        (["--data.rot", "x"], ["Mixtures has no option 'rot'", "did you mean 'root'"]),
        (["--model.net.mixer", "Softmax"], ["no class named 'Softmax'", "SoftmaxAttention"]),
        (["--model.net.depth", "deep"], ["model.net.depth", "int", "deep"]),
        (["--data.root", "nowhere"], ["folder of recordings not found: nowhere", "--data.root"]),
        (["--daata.root", "x"], ["--daata.root"]),
        (["--model.net.dim", "7"], ["must be even", "dim=7"]),
        (["--model.net.mixer", "GPSA"], ["GPSA does not fit into MossFormer", "needs_grid"]),
        (["--resume", "nowhere.ckpt"], ["checkpoint not found: nowhere.ckpt"]),
        (["--resume", "last"], ["no earlier run"]),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) and v[0].startswith("--") else "",
)
def test_mistakes_are_one_message_and_leave_nothing(
    tmp_path: Path, recordings: Path, extra: list[str], words: list[str], capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = ["speech", "fit", "-c", "mossformer_demo", "--data.root", str(recordings)]
    base += ["--data.val_speakers", "2", "--data.test_speakers", "2"]
    assert main(base + extra) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not list(tmp_path.iterdir())
