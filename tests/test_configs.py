"""One contract for every config that ships, by enumeration: header, parsing, one step on small data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from PIL import Image

from gated.cli.main import main
from gated.configs import find_config, shipped_names

NAMES = shipped_names()


def load(name: str) -> dict:
    return yaml.safe_load(find_config(name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Data of every kind, and the options that point a config at it: data module -> options."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)

    def image(path: Path, mode: str = "RGB") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (32, 32, 3) if mode == "RGB" else (32, 32)
        high = 255 if mode == "RGB" else 2
        Image.fromarray(random.integers(0, high, shape, dtype=np.uint8)).save(path)

    for i in range(12):
        image(root / "images" / f"class{i % 2}" / f"{i}.png")
        image(root / "cells" / "images" / f"{i}.png")
        image(root / "cells" / "masks" / f"{i}.png", "L")
        (root / "voices" / str(i)).mkdir(parents=True)
        soundfile.write(root / "voices" / str(i) / "a.wav", 0.1 * random.standard_normal(4000), 8000)
    rows = pd.DataFrame(
        random.standard_normal((15_000, 2)), columns=["a", "b"], index=pd.date_range("2020", periods=15_000, freq="h")
    )
    rows.to_csv(root / "table.csv", index_label="date")
    return {
        "ImageFolders": ["--data.root", str(root / "images"), "--data.img_size", "32"],
        "ImageMasks": ["--data.root", str(root / "cells"), "--data.batch_size", "2"],
        "Digits": [],
        "Mixtures": ["--data.root", str(root / "voices"), "--data.val_speakers", "3", "--data.test_speakers", "3",
                     "--data.seconds", "0.2", "--data.batch_size", "2"],
        "SeriesTable": ["--data.csv", str(root / "table.csv")],
    }  # fmt: skip


def test_each_task_has_configs() -> None:
    assert {name.split("/")[0] for name in NAMES} >= {"vision", "speech", "timeseries"}


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_command_hardware_minutes_and_figure(name: str) -> None:
    lines = find_config(name).read_text(encoding="utf-8").splitlines()
    header = "\n".join(line for line in lines[: next(i for i, x in enumerate(lines) if not x.startswith("#"))]).lower()
    task, short = name.split("/")
    assert f"gated {task} fit -c {short}" in header or f"gated {task} fit -c {name}" in header
    for word in ("hardware:", "minutes:"):
        assert word in header
    assert "expect" in header


@pytest.mark.parametrize("name", NAMES)
def test_one_step_of_training_and_validation(name: str, small, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(name)
    kind = config["data"]["class_path"].rsplit(".", 1)[1]
    argv = [name.split("/")[0], "fit", "-c", name, *small[kind], "--trainer.fast_dev_run", "true"]
    big = config["model"]["init_args"]["net"]["init_args"].get("depth", 0) > 6
    if config["model"]["init_args"]["net"]["class_path"].endswith("MossFormer") and big:
        argv += ["--model.net.depth", "2"]
    argv += ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
    argv += ["--trainer.accelerator", "cpu"]
    assert main(argv) == 0
    assert not list(tmp_path.iterdir())  # a dry run leaves nothing
