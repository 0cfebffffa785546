"""Classifying and segmenting images: ConViT, Attention U-Net, their data, training and the ``gated vision`` command."""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Classifier": "tasks.vision.classify",
    "Digits": "tasks.vision.digits",
    "ImageFolders": "tasks.vision.image_folders",
    "ImageMasks": "tasks.vision.image_masks",
    "Segmenter": "tasks.vision.segment",
}

__all__ = ["Classifier", "Digits", "ImageFolders", "ImageMasks", "Segmenter"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tasks.vision' has no attribute {name!r}")
