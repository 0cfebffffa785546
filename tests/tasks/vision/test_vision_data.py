"""Reading images, folders of classes, images with masks, digits: what users throw at them, and what they are told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gated.errors import UserError
from tasks.vision import Digits, ImageFolders, ImageMasks
from tasks.vision.digits import random_affine
from tasks.vision.images import read_image, read_mask
from tasks.vision.splits import stratified_split
from tasks.vision.transforms import EvalTransform


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def picture(path: Path, value=128, size=(12, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value,) * len(mode)).save(path)
    return path


# ---------------------------------------------------------------------------------------------------------- one image


def test_photographs_are_turned_upright(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: right side up is a quarter turn away
    image.save(tmp_path / "a.png", exif=exif)
    upright = read_image(tmp_path / "a.png")
    assert upright.shape == (3, 6, 4)
    assert (upright[:, :3] == 255).all()
    assert (upright[:, 3:] == 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_any_mode_gives_the_channels_asked_for(tmp_path, mode, in_chans):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode).save(path)
    image = read_image(path, in_chans)
    assert image.shape == (in_chans, 4, 5)
    assert image.dtype == torch.uint8
    assert (image == 255).all()


def test_transparent_pixels_become_white(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()


def test_sixteen_bits_keep_their_precision(tmp_path):
    pixels = np.array([[0, 1, 257], [32768, 65534, 65535]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", 1)
    torch.testing.assert_close(image[0] * 65535, torch.from_numpy(pixels.astype(np.float32)))
    assert torch.equal(read_mask(tmp_path / "a.png"), torch.from_numpy(pixels.astype(np.int64)))


def test_what_is_not_an_image_is_named(tmp_path):
    (tmp_path / "notes.jpg").write_text("hello, this is text")
    with pytest.raises(UserError, match=r"(?s)notes.jpg is not an image.*19 bytes that start with b'hello, this is"):
        read_image(tmp_path / "notes.jpg")
    with pytest.raises(UserError, match=r"image not found: .*missing.png"):
        read_image(tmp_path / "missing.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty.png is not an image"):
        read_image(tmp_path / "empty.png")


def test_a_damaged_image_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(UserError, match=r"half.png is damaged"):
        read_image(tmp_path / "half.png")


def test_a_colour_picture_is_no_mask(tmp_path):
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=r"m.png is a colour picture"):
        read_mask(tmp_path / "m.png")
    Image.new("RGB", (4, 4), (7, 7, 7)).save(tmp_path / "g.png")
    assert (read_mask(tmp_path / "g.png") == 7).all()


# -------------------------------------------------------------------------------------------------- folders of classes


def folder_of(root: Path, counts: dict[str, int]) -> Path:
    for label, count in counts.items():
        for i in range(count):
            picture(root / label / f"{i}.png", 10 * i)
    return root


def test_one_folder_is_split_by_class_and_seed(tmp_path):
    root = folder_of(tmp_path, {"cat": 10, "dog": 20, "rare": 2})
    data = ImageFolders(root, 8, batch_size=4, val_fraction=0.2, test_fraction=0.1)
    assert data.labels == ["cat", "dog", "rare"]
    assert data.num_classes == 3
    counts = {name: [sum(label == c for _, label in part) for c in range(3)] for name, part in data.parts.items()}
    assert counts == {"train": [7, 14, 2], "val": [2, 4, 0], "test": [1, 2, 0]}
    files = [path for part in data.parts.values() for path, _ in part]
    assert len(set(files)) == 32
    assert ImageFolders(root, 8, val_fraction=0.2, test_fraction=0.1).parts == data.parts
    assert ImageFolders(root, 8, val_fraction=0.2, test_fraction=0.1, seed=1).parts != data.parts


def test_ready_made_parts_are_kept(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 1)):
        folder_of(tmp_path / part, {"a": count, "b": count})
    data = ImageFolders(tmp_path, 8)
    assert {name: len(part) for name, part in data.parts.items()} == {"train": 8, "val": 4, "test": 2}
    assert all(path.is_relative_to(tmp_path / name) for name, part in data.parts.items() for path, _ in part)


def test_missing_test_folder_is_not_made_up(tmp_path):
    for part in ("train", "val"):
        folder_of(tmp_path / part, {"a": 4, "b": 4})
    data = ImageFolders(tmp_path, 8)
    assert len(data.parts["train"]) == 8
    with pytest.raises(UserError, match="no test images"):
        data.test_dataloader()


@pytest.mark.parametrize("augment", ["none", "light", "strong"])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_batches(tmp_path, augment, in_chans):
    root = folder_of(tmp_path, {"a": 6, "b": 6})
    Image.fromarray(np.full((9, 7), 40000, np.uint16)).save(root / "a" / "deep.png")
    data = ImageFolders(root, (8, 12), in_chans=in_chans, batch_size=4, augment=augment)
    data.setup()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for images, labels in loader:
            assert images.shape == (len(labels), in_chans, 8, 12)
            assert images.dtype == torch.float32
            assert images.isfinite().all()
    assert data.facts() == {
        "kind": "classes",
        "labels": ["a", "b"],
        "img_size": [8, 12],
        "in_chans": in_chans,
        "mean": data.mean,
        "std": data.std,
    }


def test_folder_errors(tmp_path):
    with pytest.raises(UserError, match="image folder not found"):
        ImageFolders(tmp_path / "nowhere")
    folder_of(tmp_path, {"only": 3})
    with pytest.raises(UserError, match=r"(?s)images of 1 class.*one folder a class"):
        ImageFolders(tmp_path)
    folder_of(tmp_path, {"other": 3})
    (tmp_path / "other" / "bad.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"bad.jpg is not an image"):
        ImageFolders(tmp_path).setup()
    with pytest.raises(UserError, match="nothing to train on"):
        ImageFolders(tmp_path, val_fraction=0.6, test_fraction=0.5)
    with pytest.raises(UserError, match="in_chans"):
        ImageFolders(tmp_path, in_chans=4)


def test_validation_with_an_unknown_class_is_refused(tmp_path):
    folder_of(tmp_path / "train", {"a": 3, "b": 3})
    folder_of(tmp_path / "val", {"a": 1, "c": 1})
    with pytest.raises(UserError, match=r"(?s)classes that training does not know.*found:\s+c"):
        ImageFolders(tmp_path)


def test_eval_transform_keeps_proportions():
    image = torch.zeros(1, 40, 80)
    image[:, :, 40:] = 1.0
    out = EvalTransform((20, 20), [0.0], [1.0], crop=1.0)(image)
    assert out.shape == (1, 20, 20)
    assert out[0, :, :8].max() < 0.05
    assert out[0, :, 12:].min() > 0.95


# ------------------------------------------------------------------------------------------------------------- digits


def test_digits_are_split_once_and_for_all():
    data, again = Digits(), Digits(seed=5)
    assert [len(s) for s in (data.train_set, data.val_set, data.test_set)] == [1259, 269, 269]
    assert torch.equal(data.test_set.tensors[0], again.test_set.tensors[0])
    assert data.test_set.tensors[1].bincount().min() >= 26
    rows = torch.cat([s.tensors[0].flatten(1) for s in (data.train_set, data.val_set, data.test_set)])
    assert len(rows) == 1797
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (64, 1, 8, 8)
    assert labels.dtype == torch.int64
    assert abs(data.train_set.tensors[0].mean()) < 1e-5


def test_random_affine_moves_each_image_and_none_is_the_identity():
    images = torch.rand(6, 1, 8, 8)
    torch.testing.assert_close(random_affine(images, 0, 0, 0), images)
    same = images[:1].expand(6, -1, -1, -1)
    moved = random_affine(same, 20, 0.1, 0.1)
    assert (moved[0] - moved[1]).abs().max() > 0.01
    assert moved.amin() >= images[:1].amin() - 1e-6


def test_split_keeps_every_class_in_every_part():
    train, val, test = stratified_split([0] * 3 + [1] * 100, val_fraction=0.1, test_fraction=0.1, seed=0)
    assert [sum(i < 3 for i in part) for part in (train, val, test)] == [1, 1, 1]
    assert sorted(train + val + test) == list(range(103))


# -------------------------------------------------------------------------------------------------- images and masks


def nuclei(root: Path, count=8, classes=False) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        height, width = 20 + i, 30 - i
        mask = np.zeros((height, width), np.uint16)
        mask[4:10, 5:15], mask[12:16, 3:9] = (1, 2) if classes else (1, 700)
        image = (40 + 150 * (mask > 0) + rng.integers(0, 20, mask.shape)).astype(np.uint8)
        for name in ("images", "masks"):
            (root / name).mkdir(exist_ok=True, parents=True)
        Image.fromarray(image).convert("RGBA").save(root / "images" / f"{i}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i}.tif")
    return root


def test_masks_become_foreground(tmp_path):
    data = ImageMasks(nuclei(tmp_path), 16, batch_size=3)
    data.setup()
    images, classes = next(iter(data.train_dataloader()))
    assert images.shape == (3, 1, 16, 16)
    assert classes.shape == (3, 16, 16)
    assert set(classes.unique().tolist()) == {0, 1}
    image, mask = next(iter(data.val_dataloader()))
    assert image.shape[2:] == mask.shape[1:]
    assert mask.sum() == 60 + 24
    assert abs(image.mean()) < 1e-5
    assert abs(image.std() - 1) < 1e-3
    assert data.facts() == {"kind": "masks", "labels": ["background", "object"], "in_chans": 1}


def test_crop_and_mask_stay_together(tmp_path):
    data = ImageMasks(nuclei(tmp_path), 24, batch_size=6)
    images, classes = next(iter(data.train_dataloader()))
    inside, outside = images[:, 0][classes == 1], images[:, 0][classes == 0]
    assert inside.min() > outside.max()


def test_masks_with_classes(tmp_path):
    root = nuclei(tmp_path, classes=True)
    _, mask = next(iter(ImageMasks(root, 16, target="classes", num_classes=3).test_dataloader()))
    assert set(mask.unique().tolist()) == {0, 1, 2}
    with pytest.raises(UserError, match=r"(?s)holds class 2.*classes 0 to 1"):
        next(iter(ImageMasks(root, 16, target="classes", num_classes=2).test_dataloader()))


def test_mask_errors(tmp_path):
    with pytest.raises(UserError, match=r"folder not found: .*images"):
        ImageMasks(tmp_path)
    root = nuclei(tmp_path)
    with pytest.raises(UserError, match="two classes"):
        ImageMasks(root, num_classes=3)
    (root / "masks" / "3.tif").unlink()
    with pytest.raises(UserError, match=r"(?s)do not match.*no partner for .*3.png"):
        ImageMasks(root)
    picture(root / "masks" / "3.png", 1, (5, 5), "L")
    data = ImageMasks(root, 16)
    with pytest.raises(UserError, match=r"(?s)3.png is not the mask of .*23 x 27 pixels.*5 x 5"):
        list(data._dataset("train")) and list(data._dataset("val")) and list(data._dataset("test"))
