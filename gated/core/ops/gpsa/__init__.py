"""Gated positional self-attention (ConViT)."""

from gated.core.ops.gpsa.api import gpsa

__all__ = ["gpsa"]
