"""Images in one folder a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from gated.engine.data import GatedDataModule
from gated.errors import UserError
from tasks.vision.images import check_images, find_images, read_image
from tasks.vision.splits import stratified_split
from tasks.vision.transforms import EvalTransform, Strength, Transform, normalization, train_transform

_VAL_NAMES = ("val", "valid", "validation")

Example = tuple[Path, int]


class ImageFolders(GatedDataModule):
    """Images in one folder a class, ``root/<class>/*.jpg``, or already split: ``root/{train,val,test}/<class>/*.jpg``.

    Without ``val`` (or ``test``) folders those parts are taken from the training images, stratified by class, the same
    ones for the same seed. A batch is ``(images [B, C, H, W], labels [B])``.

    Args:
        root: the folder; must be given.
        img_size: side in pixels, or ``(height, width)``, of what the network sees.
        in_chans: 3 for colour, 1 for grey.
        batch_size: images in a batch.
        augment: ``"none"``, ``"light"`` or ``"strong"``.
        val_fraction: share of images for validation, if there is no folder of it.
        test_fraction: share of images for the test, if there is neither a ``val`` nor a ``test`` folder.
        num_workers: processes that load images.
        seed: of the split and the order.
    """

    def __init__(
        self,
        root: str = "",
        img_size: int | tuple[int, int] = 224,
        *,
        in_chans: int = 3,
        batch_size: int = 64,
        augment: Strength = "light",
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        if in_chans not in (1, 3):
            raise UserError("ImageFolders: wrong in_chans", expected="3 (colour) or 1 (grey)", found=str(in_chans))
        self.root = Path(root)
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else (img_size[0], img_size[1])
        self.in_chans = in_chans
        self.mean, self.std = normalization(in_chans)
        self.augment: Strength = augment
        self.labels, self.parts = _scan(self.root, val_fraction, test_fraction, seed)

    @property
    def num_classes(self) -> int:
        """Number of class folders."""
        return len(self.labels)

    def facts(self) -> dict[str, Any]:
        """Return what a prediction needs: labels, size and normalisation."""
        return {
            "kind": "classes",
            "labels": self.labels,
            "img_size": list(self.img_size),
            "in_chans": self.in_chans,
            "mean": self.mean,
            "std": self.std,
        }

    def setup(self, stage: str | None = None) -> None:
        """Check that every file is an image."""
        check_images(path for part in self.parts.values() for path, _ in part)

    def train_dataloader(self) -> DataLoader[Any]:
        """Augmented training images."""
        return self._loader("train", train_transform(self.img_size, self.mean, self.std, self.augment))

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation images."""
        return self._loader("val", EvalTransform(self.img_size, self.mean, self.std))

    def test_dataloader(self) -> DataLoader[Any]:
        """Held-out images."""
        return self._loader("test", EvalTransform(self.img_size, self.mean, self.std))

    def _loader(self, part: str, transform: Transform) -> DataLoader[Any]:
        if not self.parts[part]:
            raise UserError(
                f"{self.root} has no {part} images",
                expected=f"a folder {self.root / part}, or a {part}_fraction above 0 and three images in some class",
            )
        return self.loader(FileImages(self.parts[part], transform, self.in_chans), train=part == "train")


class FileImages(Dataset[tuple[torch.Tensor, int]]):
    """Images read from their files when they are asked for."""

    def __init__(self, examples: list[Example], transform: Transform, in_chans: int) -> None:
        self.examples, self.transform, self.in_chans = examples, transform, in_chans

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.examples[index]
        return self.transform(read_image(path, self.in_chans)), label


def _scan(
    root: Path, val_fraction: float, test_fraction: float, seed: int
) -> tuple[list[str], dict[str, list[Example]]]:
    """Return the class names and the examples of the parts ``train``, ``val``, ``test``."""
    if root == Path():
        raise UserError("no image folder was given", expected="--data.root DIR, one folder of images a class in it")
    if not root.is_dir():
        raise UserError(
            f"image folder not found: {root}",
            expected="a folder with one folder of images a class",
            hint="check --data.root",
        )
    train_root = root / "train" if (root / "train").is_dir() else root
    labels = sorted(p.name for p in train_root.iterdir() if p.is_dir() and not p.name.startswith("."))
    examples = _examples(train_root, labels)
    num_filled = len({label for _, label in examples})
    if num_filled < 2:
        raise UserError(
            f"{train_root} has images of {num_filled} class{'' if num_filled == 1 else 'es'}",
            expected="one folder a class, at least two with images, such as "
            f"{train_root / 'cat' / '1.jpg'} and {train_root / 'dog' / '1.jpg'}",
            found=("folders " + ", ".join(labels[:8])) if labels else "no folders",
        )
    if train_root == root:
        val_root = test_root = None
    else:
        val_root = next((root / n for n in _VAL_NAMES if (root / n).is_dir()), None)
        test_root = root / "test" if (root / "test").is_dir() else None
    train, val, test = stratified_split(
        [label for _, label in examples],
        val_fraction=0.0 if val_root else val_fraction,
        # images of a ready-made validation part must not be thinned out for a test nobody asked for
        test_fraction=0.0 if val_root or test_root else test_fraction,
        seed=seed,
    )
    parts = {name: [examples[i] for i in part] for name, part in (("train", train), ("val", val), ("test", test))}
    for name, folder in (("val", val_root), ("test", test_root)):
        if folder is not None:
            unknown = [p.name for p in folder.iterdir() if p.is_dir() and p.name not in labels and p.name[0] != "."]
            if unknown:
                raise UserError(
                    f"{folder} has classes that training does not know",
                    expected="folders among " + ", ".join(labels[:8]),
                    found=", ".join(sorted(unknown)[:8]),
                )
            parts[name] = _examples(folder, labels)
    return labels, parts


def _examples(folder: Path, labels: list[str]) -> list[Example]:
    return [
        (path, i) for i, name in enumerate(labels) if (folder / name).is_dir() for path in find_images(folder / name)
    ]
