"""Checkpoints: a file can neither run code nor be half understood."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import gated
from gated.core.mixers import SoftmaxAttention
from gated.engine.checkpoint import save_weights
from gated.errors import UserError
from tasks.speech.models import MossFormer


def tiny() -> MossFormer:
    mixer = partial(SoftmaxAttention, num_heads=2, output_gate="head")
    return MossFormer(2, 8, depth=2, encoder_dim=8, mixer=mixer).eval()


def test_a_folder_brings_back_the_network_its_mixer_and_its_facts(tmp_path: Path) -> None:
    net = tiny()
    save_weights(net, {"sample_rate": 8000, "labels": ["a", "b"]}, tmp_path / "weights")
    again = gated.load(tmp_path / "weights")
    x = torch.randn(1, 500)
    assert torch.equal(again(x), net(x))
    assert again.facts == {"sample_rate": 8000, "labels": ["a", "b"]}
    assert again.layers[0][1].gate is not None
    assert not again.training


@pytest.mark.parametrize("change", ["missing tensor", "unknown tensor", "other shape"], ids=str.split)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path, change: str) -> None:
    save_weights(tiny(), {}, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if change == "missing tensor":
        del weights["encoder.weight"]
    elif change == "unknown tensor":
        weights["stranger"] = torch.zeros(1)
    else:
        weights["encoder.weight"] = torch.zeros(8, 1, 17)
    save_file(weights, tmp_path / "model.safetensors")
    named = {"missing tensor": "missing encoder.weight", "unknown tensor": "unknown stranger"}.get(
        change, r"\[8, 1, 17\]"
    )
    with pytest.raises(UserError, match=named):
        gated.load(tmp_path)


def test_a_config_cannot_name_foreign_classes(tmp_path: Path) -> None:
    save_weights(tiny(), {}, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for path in ("os.system", "subprocess.Popen", "torch.nn.Linear", "gatedx.Evil"):
        (tmp_path / "config.json").write_text(json.dumps({**config, "net": {"class_path": path, "init_args": {}}}))
        with pytest.raises(UserError, match="refused to import"):
            gated.load(tmp_path)
    config["net"]["init_args"]["mixer"] = {"class_path": "builtins.exec", "init_args": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="refused to import"):
        gated.load(tmp_path)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_a_pickle_does_not_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"gated": Evil(), "state_dict": {}}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match="read safely"):
        gated.load(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken zip"], ids=["empty", "text", "zip"])
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError):
        gated.load(path)


def test_paths_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found"):
        gated.load(tmp_path / "nothing")
    with pytest.raises(UserError, match="not a checkpoint folder"):
        gated.load(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="not a checkpoint of this suite"):
        gated.load(tmp_path / "other.ckpt")


def test_a_spec_is_plain_data_and_builds_the_same_network() -> None:
    spec = tiny().spec()
    assert json.loads(json.dumps(spec)) == spec
    assert spec["class_path"] == "tasks.speech.models.MossFormer"
    assert spec["init_args"]["mixer"]["class_path"] == "gated.core.mixers.SoftmaxAttention"
    assert spec["init_args"]["mixer"]["init_args"] == {"num_heads": 2, "output_gate": "head"}
