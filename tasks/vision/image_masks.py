"""Images and their masks in two folders, for segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from gated.engine.data import GatedDataModule
from gated.errors import UserError
from tasks.vision.images import check_images, find_images, read_image, read_mask
from tasks.vision.splits import stratified_split
from tasks.vision.transforms import standardize

Pair = tuple[Path, Path]


class ImageMasks(GatedDataModule):
    """Images in ``root/images`` and masks of the same names (any suffix) in ``root/masks``.

    Training sees random square crops, mirrored; validation and test see whole images, one at a time. Every image is
    standardised by its own mean and deviation. A batch is ``(images [B, C, H, W], classes [B, H, W])``.

    Args:
        root: the folder; must be given.
        crop_size: side of the training crops in pixels; smaller images are mirrored at their edges up to it.
        target: ``"foreground"``: a mask holds object numbers (or any non-zero value), and what is learnt is object or
            not; ``"classes"``: a mask holds class numbers 0, 1, ...
        num_classes: classes, background included; 2 with ``target="foreground"``.
        in_chans: 1 for grey, 3 for colour.
        batch_size: crops in a batch.
        val_fraction: share of images for validation.
        test_fraction: share of images for the test.
        num_workers: processes that load images.
        seed: of the split, the order and the crops.
    """

    def __init__(
        self,
        root: str = "",
        crop_size: int = 256,
        *,
        target: Literal["foreground", "classes"] = "foreground",
        num_classes: int = 2,
        in_chans: int = 1,
        batch_size: int = 8,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        if target == "foreground" and num_classes != 2:
            raise UserError(
                "ImageMasks: target='foreground' has two classes, background and object",
                found=f"num_classes={num_classes}",
                hint="set target to 'classes' if the masks hold class numbers",
            )
        if in_chans not in (1, 3):
            raise UserError("ImageMasks: wrong in_chans", expected="1 (grey) or 3 (colour)", found=str(in_chans))
        self.root, self.crop_size, self.target = Path(root), crop_size, target
        self.num_classes, self.in_chans = num_classes, in_chans
        pairs = find_pairs(self.root)
        split = stratified_split([0] * len(pairs), val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
        self.parts = {
            name: [pairs[i] for i in part] for name, part in zip(("train", "val", "test"), split, strict=True)
        }

    def facts(self) -> dict[str, Any]:
        """Return what a prediction needs."""
        labels = ["background", "object"] if self.target == "foreground" else [str(i) for i in range(self.num_classes)]
        return {"kind": "masks", "labels": labels, "in_chans": self.in_chans}

    def setup(self, stage: str | None = None) -> None:
        """Check that every file is an image."""
        check_images(path for part in self.parts.values() for pair in part for path in pair)

    def train_dataloader(self) -> DataLoader[Any]:
        """Random crops of the training images."""
        return self.loader(self._dataset("train"), train=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole validation images, one at a time because their sizes differ."""
        return DataLoader(self._dataset("val"), batch_size=1, num_workers=self.num_workers)

    def test_dataloader(self) -> DataLoader[Any]:
        """Whole held-out images, one at a time because their sizes differ."""
        return DataLoader(self._dataset("test"), batch_size=1, num_workers=self.num_workers)

    def _dataset(self, part: str) -> MaskedImages:
        if not self.parts[part]:
            raise UserError(
                f"{self.root} has no {part} images", expected=f"a {part} fraction above 0 and at least three images"
            )
        limit = None if self.target == "foreground" else self.num_classes
        return MaskedImages(self.parts[part], self.in_chans, limit, self.crop_size if part == "train" else None)


class MaskedImages(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs of an image and its mask, read when they are asked for.

    Args:
        pairs: files.
        in_chans: channels of the images.
        num_classes: classes of the masks; None for object or not.
        crop_size: side of random crops; None for whole images.
    """

    def __init__(self, pairs: list[Pair], in_chans: int, num_classes: int | None, crop_size: int | None) -> None:
        self.pairs, self.in_chans, self.num_classes = pairs, in_chans, num_classes
        self.augment = None
        if crop_size is not None:
            self.augment = v2.Compose(
                [
                    v2.RandomCrop(crop_size, pad_if_needed=True, padding_mode="edge"),  # mirroring fails on tiny images
                    v2.RandomHorizontalFlip(),
                    v2.RandomVerticalFlip(),
                    v2.ColorJitter(brightness=0.2, contrast=0.2),
                ]
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image_path, mask_path = self.pairs[index]
        image, mask = read_image(image_path, self.in_chans), read_mask(mask_path)
        if image.shape[1:] != mask.shape:
            raise UserError(
                f"{mask_path} is not the mask of {image_path}",
                expected=f"{image.shape[1]} x {image.shape[2]} pixels",
                found=f"{mask.shape[0]} x {mask.shape[1]} pixels",
            )
        if self.num_classes is None:
            mask = (mask > 0).long()
        elif mask.max() >= self.num_classes:
            raise UserError(
                f"{mask_path} holds class {int(mask.max())}",
                expected=f"classes 0 to {self.num_classes - 1}",
                hint="set num_classes, or target to 'foreground' if the masks hold object numbers",
            )
        if self.augment is not None:
            image, mask = self.augment(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return standardize(image.as_subclass(torch.Tensor)), mask.as_subclass(torch.Tensor)


def find_pairs(root: Path) -> list[Pair]:
    """Return image and mask files with equal stems, sorted.

    Raises:
        UserError: a folder is missing, it is empty, or a file of one has no partner in the other.
    """
    if root == Path():
        raise UserError("no image folder was given", expected="--data.root DIR with the folders images and masks in it")
    for folder in (root / "images", root / "masks"):
        if not folder.is_dir():
            raise UserError(
                f"folder not found: {folder}",
                expected=f"{root}/images and {root}/masks with files of equal names",
                hint="check --data.root",
            )
    images, masks = ({p.stem: p for p in find_images(root / name)} for name in ("images", "masks"))
    alone = [str(images[s]) for s in images if s not in masks] + [str(masks[s]) for s in masks if s not in images]
    if alone or not images:
        raise UserError(
            f"images and masks in {root} do not match",
            expected="a mask for every image, of the same name",
            found=("no partner for " + ", ".join(alone[:5]) + (" and more" if len(alone) > 5 else ""))
            if alone
            else "no images",
        )
    return [(images[stem], masks[stem]) for stem in sorted(images)]
