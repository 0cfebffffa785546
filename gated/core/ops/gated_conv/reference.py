"""The definition: a convolution is a sum over the taps of its kernel."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F


def reference(context: torch.Tensor, weight: torch.Tensor, *, padding: tuple[int, ...], dilation: int) -> torch.Tensor:
    """See :class:`gated.core.ops.gated_conv.recursion.Convolution`."""
    context = F.pad(context, (0, 0, *(side for margin in reversed(padding) for side in (margin, margin))))
    kernel = weight.shape[1:]
    sizes = [n - dilation * (k - 1) for n, k in zip(context.shape[1:-1], kernel, strict=True)]
    total = context.new_zeros(len(context), *sizes, context.shape[-1])
    for number, tap in enumerate(product(*map(range, kernel))):
        seen = context
        for axis, (place, size) in enumerate(zip(tap, sizes, strict=True), start=1):
            seen = seen.narrow(axis, dilation * place, size)
        total = total + seen * weight.flatten(1)[:, number]
    return total
