"""Recursive gated convolution (HorNet) and convolutions with a gate, of any kernel size."""

from gated.core.ops.gated_conv.api import gated_conv

__all__ = ["gated_conv"]
