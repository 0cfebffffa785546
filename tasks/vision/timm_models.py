"""Our ConViT among timm's models: import this file, then ``timm.create_model("gated_convit_tiny")``."""

from __future__ import annotations

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from tasks.vision.models.convit import ConViT
from tasks.vision.registry import MODELS

_NAMES = [name for name in MODELS if name.startswith("convit_")]

default_cfgs = generate_default_cfgs(
    {
        f"gated_{name}": {
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": None,
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
        for name in _NAMES
    }
)


def _register(name: str) -> None:
    def build(pretrained: bool = False, **kwargs: Any) -> ConViT:
        if "drop_path_rate" in kwargs:
            kwargs["drop_path"] = kwargs.pop("drop_path_rate")
        model: ConViT = build_model_with_cfg(ConViT, build.__name__, pretrained, **{**MODELS[name][1], **kwargs})
        return model

    # timm files a model under the name and the module of its function
    build.__name__ = build.__qualname__ = f"gated_{name}"
    build.__doc__ = f"``{name}`` of this package."
    globals()[build.__name__] = register_model(build)


for _name in _NAMES:
    _register(_name)
