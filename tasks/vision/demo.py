"""The vision part of ``gated demo``: a small ConViT learns handwritten digits and shows what its gates did."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import RichProgressBar
from PIL import Image

from gated.configs import find_config
from gated.engine.checkpoint import save_weights
from gated.engine.files import atomic_path
from gated.engine.quiet import quiet
from gated.engine.report import Section
from gated.registry import build
from tasks.vision import figures
from tasks.vision.classify import Classifier
from tasks.vision.digits import Digits
from tasks.vision.explain import explain
from tasks.vision.models import ConViT


def run(out: Path, config: dict[str, Any] | None = None) -> Section:
    """Train, judge on held-out digits, draw; write weights, pictures and a few digits below ``out``.

    Args:
        out: folder to write to.
        config: a config in the form of ``configs/vision/convit_digits.yaml``, which is the default.
    """
    config = config or yaml.safe_load(find_config("convit_digits", "vision").read_text(encoding="utf-8"))
    module, data = assemble(config)
    net = module.net
    before = net.gate_values()
    with quiet():
        trainer = L.Trainer(
            **config["trainer"],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[RichProgressBar()],
        )
        trainer.fit(module, datamodule=data)
    net.facts = data.facts()
    counts = confusion(net.eval(), data)
    accuracy = (counts.diag().sum() / counts.sum()).item()

    out.mkdir(parents=True, exist_ok=True)
    weights = save_weights(net, net.facts, out / "convit_digits")
    digit = write_digit(data, 0, out / "digit.png")
    pictures = [
        (
            figures.confusion_matrix(
                counts, net.facts["labels"], out / "confusion.png", f"held-out digits: {accuracy:.1%}"
            ),
            "Held-out digits that the network never saw in training, counted by true and predicted label.",
        ),
        (
            figures.gate_tables(before, net.gate_values(), out / "gates.png"),
            "Gated positional attention starts as a convolution, with every gate at 0.73. Training decides, head by "
            "head, how much of that to keep.",
        ),
        (
            explain(net, digit, out / "explain.png"),
            "Where the network looks, for one held-out digit: `gated vision explain` draws this for any image.",
        ),
    ]
    return Section(
        "A ConViT reads handwritten digits",
        text="A small vision transformer whose first layers start as a convolution learns scikit-learn's digits "
        f"(8 x 8 pixels) in {trainer.max_epochs} epochs.\n\n"
        f"The weights are in {weights}: `gated vision predict --ckpt {weights} IMAGE...` uses them.",
        metrics={
            "held-out accuracy": accuracy,
            "held-out digits": str(int(counts.sum())),
            "wrong": str(int(counts.sum() - counts.diag().sum())),
            "parameters": f"{sum(p.numel() for p in net.parameters()):,}",
        },
        figures=pictures,
    )


def assemble(config: dict[str, Any]) -> tuple[Classifier, Digits]:
    """Build the Lightning module and the data of a digits config, seeded."""
    config = deepcopy(config)
    L.seed_everything(config.get("seed_everything", 0), verbose=False)
    data = Digits(**config["data"]["init_args"])
    options = config["model"]["init_args"]
    spec = options.pop("net")
    spec["init_args"] |= {"num_classes": data.num_classes, "in_chans": data.in_chans}
    net = build(spec)
    assert isinstance(net, ConViT)
    return Classifier(net, **options), data


@torch.inference_mode()
def confusion(net: ConViT, data: Digits) -> torch.Tensor:
    """Return counts ``[true, predicted]`` over the held-out digits."""
    counts = torch.zeros(data.num_classes, data.num_classes, dtype=torch.long)
    for images, labels in data.test_dataloader():
        counts.index_put_((labels, net(images).argmax(1)), torch.ones_like(labels), accumulate=True)
    return counts


def write_digit(data: Digits, index: int, path: Path) -> Path:
    """Write one held-out digit as an 8 x 8 grey PNG and return its path."""
    image, _ = data.test_set[index]
    pixels = ((image[0] * data.std + data.mean) * 255).round().clamp(0, 255).to(torch.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(pixels.numpy()).save(temporary)
    return path
