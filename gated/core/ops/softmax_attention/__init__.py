"""Softmax attention with gates on its scores, weights and output."""

from gated.core.ops.softmax_attention.api import softmax_attention

__all__ = ["softmax_attention"]
