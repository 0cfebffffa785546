"""Training through the command line: a few steps each, checkpoints that predict, metrics that mean what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import gated
from gated.cli.main import main
from gated.configs import find_config
from tasks.vision import Classifier, Segmenter
from tasks.vision.demo import assemble, run
from tasks.vision.models import ConViT, GatedUNet
from tasks.vision.segment import soft_dice_loss

QUICK = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)


def best_checkpoint(name: str) -> Path:
    return next(Path("runs/vision").glob(f"{name}/*/checkpoints/best.ckpt"))


def test_fit_and_predict_on_own_folders():
    rng = np.random.default_rng(0)
    for label, level in (("dark", 40), ("light", 200)):
        Path("photos", label).mkdir(parents=True)
        for i in range(12):
            pixels = (level + rng.integers(-30, 30, (20, 24, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(Path("photos", label, f"{i}.png"))
    small = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_local_layers": 1}
    options = [word for k, v in small.items() for word in (f"--model.net.{k}", str(v))]
    data = ["--data.root", "photos", "--data.img_size", "16", "--data.num_workers", "0", "--data.augment", "none"]
    words = ["vision", "fit", "-c", "convit_tiny", *data, *options, "--model.warmup_steps", "0", *QUICK]
    assert main([*words, "--data.batch_size", "4", "--model.lr", "0.003", "--trainer.max_epochs", "4"]) == 0
    checkpoint = best_checkpoint("convit_tiny")
    net = gated.load(checkpoint)
    assert net.num_classes == 2
    assert net.facts["labels"] == ["dark", "light"]
    assert main(["vision", "predict", "--ckpt", str(checkpoint), "photos", "-o", "labels.csv"]) == 0
    rows = [line.split(",")[:2] for line in Path("labels.csv").read_text().splitlines()[1:]]
    assert sum(Path(file).parent.name == label for file, label in rows) >= 20


def test_fit_a_unet_with_a_mixer_from_the_command_line():
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        Path("cells", name).mkdir(parents=True)
    for i in range(8):
        mask = np.zeros((32, 40), np.uint8)
        mask[5 + i : 15 + i, 8:20] = 1
        Image.fromarray((mask * 120 + rng.integers(0, 60, mask.shape)).astype(np.uint8)).save(f"cells/images/{i}.png")
        Image.fromarray(mask).save(f"cells/masks/{i}.png")
    data = ["--data.root", "cells", "--data.crop_size", "32"]
    net = ["--model.net.feature_scale", "16", "--model.net.mixer", "GPSA", "--model.net.mixer.num_heads", "2"]
    assert main(["vision", "fit", "-c", "unet_nuclei", *data, *net, *QUICK]) == 0
    model = gated.load(best_checkpoint("unet_nuclei"))
    assert type(model.mixer.mixer).__name__ == "GPSA"
    assert model(torch.randn(1, 1, 20, 20)).shape == (1, 2, 20, 20)


def test_a_missing_image_folder_is_one_message(capsys):
    assert main(["vision", "fit", "-c", "convit_tiny", "--data.root", "nowhere", *QUICK]) == 2
    err = capsys.readouterr().err
    assert "image folder not found: nowhere" in err
    assert "Traceback" not in err
    for config in ("convit_tiny", "unet_nuclei"):
        assert main(["vision", "fit", "-c", config, *QUICK]) == 2
        err = capsys.readouterr().err
        assert "no image folder was given" in err
        assert "--data.root DIR" in err
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["convit_digits", "convit_tiny", "unet_nuclei"])
def test_shipped_configs_say_how_to_run_them(name):
    path = find_config(name, "vision")
    head = path.read_text().split("\nseed_everything")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    for word in (f"gated vision fit -c {name}", "Hardware:", "Minutes:", "Expect:"):
        assert word in head


def test_the_digits_demo_reports_what_it_did(tmp_path):
    config = yaml.safe_load(find_config("convit_digits", "vision").read_text())
    config["trainer"] |= {"max_epochs": 1, "limit_train_batches": 3}
    section = run(tmp_path / "demo", config)
    assert 0 <= section.metrics["held-out accuracy"] <= 1
    assert section.metrics["held-out digits"] == "269"
    for path, caption in section.figures:
        assert path.stat().st_size > 5_000
        assert caption
    meta = json.loads((tmp_path / "demo" / "convit_digits" / "config.json").read_text())
    assert meta["net"]["class_path"] == "tasks.vision.models.ConViT"
    assert main(["vision", "predict", "--ckpt", "demo/convit_digits", "demo/digit.png"]) == 0


@pytest.mark.filterwarnings("ignore:::lightning")
def test_accuracy_does_not_depend_on_the_batch_size():
    config = yaml.safe_load(find_config("convit_digits", "vision").read_text())
    scores = []
    for batch_size in (7, 64):
        config["data"]["init_args"]["batch_size"] = batch_size
        module, data = assemble(config)
        scores.append(_judge(module, data))
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def _judge(module, data):
    import lightning as L

    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    results = L.Trainer(**options, enable_checkpointing=False).test(module, data, verbose=False)[0]
    return [results["test/acc"], results["test/loss"]]


def test_soft_dice_is_zero_for_a_perfect_answer():
    classes = torch.randint(0, 3, (2, 8, 8))
    perfect = 100.0 * torch.nn.functional.one_hot(classes, 3).movedim(-1, 1)
    assert soft_dice_loss(perfect, classes).item() == pytest.approx(0, abs=1e-5)
    assert soft_dice_loss(-perfect, classes).item() > 0.7
    absent = torch.zeros(1, 4, 4, dtype=torch.long)
    assert torch.isfinite(soft_dice_loss(torch.zeros(1, 3, 4, 4), absent))


def test_segmentation_metrics_are_dice_and_iou_of_the_foreground():
    module = Segmenter(GatedUNet(feature_scale=16))
    predicted, truth = torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(1, 4, 4, dtype=torch.long)
    predicted[:, :2], truth[:, 1:3] = 1, 1
    for name, wanted in (("val_dice", 0.5), ("val_iou", 1 / 3)):
        metric = module.metrics[name]
        metric.update(predicted, truth)
        assert metric.compute().item() == pytest.approx(wanted, abs=1e-4)


def test_position_and_class_tokens_are_not_decayed():
    net = ConViT(3, 1, img_size=8, patch_size=4, embed_dim=8, depth=1, num_local_layers=1)
    module = Classifier(net, lr=0.1, weight_decay=0.5)
    assert module.net.no_weight_decay() <= {name for name, _ in net.named_parameters()}
