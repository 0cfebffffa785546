"""Softmax attention with an output gate."""

from gated.core.ops.softmax_attention.api import softmax_attention

__all__ = ["softmax_attention"]
