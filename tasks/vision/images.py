"""Reading image files: turned upright, any colour mode, errors that name the file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from gated.engine.files import existing_file
from gated.errors import UserError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def find_images(folder: Path) -> list[Path]:
    """Return the image files anywhere below ``folder``, sorted; hidden files are left out."""
    return sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def check_images(paths: Iterable[Path]) -> None:
    """Read the headers of all files, so that a bad one is found before hours of training and not in them.

    Raises:
        UserError: a file is missing or not an image.
    """
    for path in paths:
        _open(path).close()


def read_image(path: str | Path, in_chans: int = 3) -> torch.Tensor:
    """Return an image ``[C, H, W]``: uint8, or float32 in 0..1 if the file has 16 bits or more.

    Photographs are turned as their EXIF says; transparent pixels are laid on white; grey becomes colour and colour grey
    as ``in_chans`` asks.

    Args:
        path: the file.
        in_chans: 1 (grey) or 3 (red, green, blue).

    Raises:
        UserError: the file is missing, or not an image, or damaged.
    """
    image = _load(path)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.float32)
        # whole numbers are on the scale of 16 bits; floats are taken as 0..1
        grey = torch.from_numpy(pixels if image.mode == "F" else pixels / 65535.0)[None]
        return grey.expand(in_chans, -1, -1).contiguous()
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("L" if in_chans == 1 else "RGB"))
    return torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None]).permute(2, 0, 1).contiguous()


def read_mask(path: str | Path) -> torch.Tensor:
    """Return the whole numbers of a mask file, ``[H, W]`` int64; a palette gives its indices.

    Raises:
        UserError: the file is missing, not an image, damaged, or a colour picture.
    """
    image = _load(path)
    pixels = np.asarray(image)
    if pixels.ndim == 3:
        colours = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
        if (colours != colours[..., :1]).any():
            raise UserError(
                f"mask {path} is a colour picture",
                expected="one whole number a pixel (grey, 16-bit or palette)",
                found=f"mode {image.mode}",
                hint="save the mask with class or object numbers as its grey values",
            )
        pixels = colours[..., 0]
    return torch.from_numpy(pixels.astype(np.int64))


def _open(path: str | Path) -> Image.Image:
    path = existing_file(path, "image")
    try:
        with warnings.catch_warnings():
            # a very large photograph is fine; one that would fill the memory is an error of its own
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        start = path.read_bytes()[:16] if path.stat().st_size else b""
        raise UserError(
            f"{path} is not an image",
            expected="a file in one of the formats " + ", ".join(sorted(s[1:] for s in SUFFIXES)),
            found=f"{path.stat().st_size} bytes that start with {start!r}"
            if isinstance(error, UnidentifiedImageError)
            else str(error),
            hint="remove the file, or save it again as PNG",
        ) from None


def _load(path: str | Path) -> Image.Image:
    with _open(path) as image:
        try:
            return ImageOps.exif_transpose(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"image {path} is damaged", found=str(error), hint="remove or replace the file") from None
