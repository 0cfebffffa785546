"""Images in, labels or masks out."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gated.cli.main import Parser
from gated.engine.checkpoint import load
from gated.engine.files import atomic_path
from gated.errors import UserError
from tasks.vision.images import check_images, find_images, read_image
from tasks.vision.transforms import EvalTransform, standardize

TOP = 3


@dataclass(frozen=True)
class Label:
    """What a classifier says about one image.

    Attributes:
        file: the image.
        ranking: pairs (label, probability), the most probable first.
    """

    file: Path
    ranking: list[tuple[str, float]]


def main(argv: list[str]) -> int:
    """``gated vision predict``."""
    parser = Parser("gated vision predict", description="Label images, or segment them.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--ckpt", required=True, help="a .ckpt of a run, or an exported folder")
    parser.add_argument("-o", "--out", help="CSV of labels (labels.csv), or folder of masks (masks)")
    args = parser.parse_args(argv)
    net = load(args.ckpt)
    paths = gather(args.images)
    if facts_of(net)["kind"] == "classes":
        out = Path(args.out or "labels.csv")
        write_labels(list(classify(net, paths)), out)
        print(f"{len(paths)} images labelled: {out}")
    else:
        out = Path(args.out or "masks")
        if out.suffix:
            raise UserError(
                f"this checkpoint segments: the output is a folder of masks, not {out}",
                hint="give -o the name of a folder",
            )
        count = write_masks(net, paths, out)
        print(f"{count} masks written: {out}/")
    return 0


def classify(net: nn.Module, paths: Iterable[Path]) -> Iterator[Label]:
    """Yield the label of each image, all classes ranked.

    Args:
        net: a classifier from :func:`gated.load`.
        paths: image files.
    """
    labels = facts_of(net)["labels"]
    for path in paths:
        with torch.inference_mode():
            probability = net(prepare(net, read_image(path, net.facts["in_chans"]))[None])[0].float().softmax(0)
        ranking = [(labels[i], probability[i].item()) for i in probability.argsort(descending=True).tolist()]
        yield Label(path, ranking)


def segment(net: nn.Module, path: Path) -> torch.Tensor:
    """Return the class of each pixel ``[H, W]`` (uint8) for one image file."""
    with torch.inference_mode():
        logits = net(prepare(net, read_image(path, facts_of(net)["in_chans"]))[None])
    return logits[0].argmax(0).to(torch.uint8)


def prepare(net: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Turn an image as read into the input ``[C, H, W]`` that ``net`` was trained on."""
    facts = facts_of(net)
    if facts["kind"] == "masks":
        return standardize(image)
    height, width = facts["img_size"]
    # an image that already has the size is not cut any further
    crop = {"crop": 1.0} if tuple(image.shape[1:]) == (height, width) else {}
    return EvalTransform((height, width), facts["mean"], facts["std"], **crop)(image)


def facts_of(net: nn.Module) -> dict[str, Any]:
    """Return the facts of the data that ``net`` was trained on.

    Raises:
        UserError: they are not those of an image classifier or segmenter.
    """
    facts: dict[str, Any] = getattr(net, "facts", {})
    if facts.get("kind") not in ("classes", "masks"):
        raise UserError(
            "this checkpoint was not trained on images",
            expected="a checkpoint of `gated vision fit`",
            found=f"{type(net).__name__} with facts {sorted(facts)}",
        )
    return facts


def gather(names: Iterable[str]) -> list[Path]:
    """Return the image files that the words of a command line stand for; folders are searched.

    Raises:
        UserError: a file is missing or not an image, or a folder has none.
    """
    paths: list[Path] = []
    for name in map(Path, names):
        found = find_images(name) if name.is_dir() else [name]
        if not found:
            raise UserError(f"no images in the folder {name}")
        paths += found
    check_images(paths)
    return paths


def write_labels(rows: list[Label], out: Path) -> None:
    """Write ``file, label, probability`` and the runners-up as CSV."""
    count = min(TOP, len(rows[0].ranking))
    header = ["file", "label", "probability"]
    header += [f"{name}_{place}" for place in range(2, count + 1) for name in ("label", "probability")]
    with atomic_path(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            ranked = [cell for label, p in row.ranking[:count] for cell in (label, f"{p:.6f}")]
            writer.writerow([row.file, *ranked])


def write_masks(net: nn.Module, paths: list[Path], folder: Path) -> int:
    """Write one PNG a image: 0 and 255 for two classes, else class numbers; return how many.

    Raises:
        UserError: two images have the same name, so that one mask would overwrite the other.
    """
    from PIL import Image

    names = [f"{path.stem}.png" for path in paths]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise UserError(
            "two images have the same name",
            found=", ".join(doubles[:5]),
            hint="segment their folders one after the other",
        )
    masks = {name: segment(net, path) for name, path in zip(names, paths, strict=True)}
    for name, mask in masks.items():
        pixels = mask * 255 if len(facts_of(net)["labels"]) == 2 else mask
        with atomic_path(folder / name) as temporary:
            Image.fromarray(pixels.numpy()).save(temporary)
    return len(masks)
