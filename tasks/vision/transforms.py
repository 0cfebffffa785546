"""What happens to images between the file and the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

Transform = Callable[[torch.Tensor], torch.Tensor]
Strength = Literal["none", "light", "strong"]

CROP = 0.875
"""Share of the image's shorter side that is kept when judging, the custom since AlexNet."""


def normalization(in_chans: int) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation: ImageNet's for colour, their average for grey."""
    return ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if in_chans == 3 else ([0.449], [0.226])


class EvalTransform:
    """Resize until the shorter side fits, cut the middle out, scale to 0..1 and normalise.

    Args:
        size: ``(height, width)`` of the result.
        mean: mean of each channel.
        std: standard deviation of each channel.
        crop: share of the resized image that is kept; 1 keeps as much as the shape allows.
    """

    def __init__(self, size: tuple[int, int], mean: list[float], std: list[float], *, crop: float = CROP) -> None:
        self.size, self.mean, self.std, self.crop = size, mean, std, crop

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """``[C, H, W]`` uint8 or float in 0..1 -> ``[C, *size]``."""
        height, width = image.shape[-2:]
        scale = max(self.size[0] / height, self.size[1] / width) / self.crop
        resized = [max(round(height * scale), self.size[0]), max(round(width * scale), self.size[1])]
        image = tvf.center_crop(tvf.resize(image, resized, antialias=True), list(self.size))
        return tvf.normalize(tvf.to_dtype(image, torch.float32, scale=True), self.mean, self.std)


def train_transform(size: tuple[int, int], mean: list[float], std: list[float], strength: Strength) -> Transform:
    """Return the random transform of training.

    Args:
        size: ``(height, width)`` of the result.
        mean: mean of each channel.
        std: standard deviation of each channel.
        strength: ``"none"`` is :class:`EvalTransform`; ``"light"`` crops, mirrors and changes colours a little;
            ``"strong"`` adds TrivialAugment and erased patches.
    """
    if strength == "none":
        return EvalTransform(size, mean, std)
    area = (0.5, 1.0) if strength == "light" else (0.25, 1.0)
    steps: list[torch.nn.Module] = [
        v2.RandomResizedCrop(size, scale=area, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.2, 0.2, 0.2) if strength == "light" else v2.TrivialAugmentWide(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean, std),
    ]
    if strength == "strong":
        steps.append(v2.RandomErasing(0.25))
    return v2.Compose(steps)


def standardize(image: torch.Tensor) -> torch.Tensor:
    """Give one image ``[C, H, W]`` mean 0 and deviation 1 over all its pixels.

    Microscopes and scanners differ in exposure and bit depth from file to file, so one constant for all would not do.
    """
    image = tvf.to_dtype(image, torch.float32, scale=True)
    return (image - image.mean()) / image.std().clamp_min(1e-6)
