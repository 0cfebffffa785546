"""Names of the vision models: name -> (class, keyword arguments that make this variant)."""

from __future__ import annotations

from typing import Any

_CONVIT = "tasks.vision.models:ConViT"
_UNET = "tasks.vision.models:GatedUNet"

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "convit_tiny": (_CONVIT, {"embed_dim": 192, "num_heads": 4}),
    "convit_tiny_plus": (_CONVIT, {"embed_dim": 256, "num_heads": 4}),
    "convit_small": (_CONVIT, {"embed_dim": 432, "num_heads": 9}),
    "convit_small_plus": (_CONVIT, {"embed_dim": 576, "num_heads": 9}),
    "convit_base": (_CONVIT, {"embed_dim": 768, "num_heads": 16}),
    "convit_base_plus": (_CONVIT, {"embed_dim": 1024, "num_heads": 16}),
    "attention_unet_2d": (_UNET, {"spatial_dims": 2}),
    "attention_unet_3d": (_UNET, {"spatial_dims": 3}),
}
