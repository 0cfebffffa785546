"""Models for images and volumes: plain torch, logits out."""

from tasks.vision.models.convit import ConViT
from tasks.vision.models.gated_unet import GatedUNet

__all__ = ["ConViT", "GatedUNet"]
