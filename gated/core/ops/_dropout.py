"""Dropout that draws 16 random bits for a value instead of a floating-point number."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_LEVELS = 1 << 16


def dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """Zero values of ``x`` with probability ``p`` and scale the others up, on a CPU at a quarter of torch's price.

    torch draws a uniform number for each value, one after the other, which in a small model takes as long as the
    matrix products. Here one draw of 64 bits serves four values, so the probability is rounded to 1/65536; values
    that stay are scaled by the probability that was really used. On other devices it is ``F.dropout`` itself.
    """
    cut = round(p * _LEVELS)
    if cut == 0 or cut >= _LEVELS or x.device.type != "cpu":
        return F.dropout(x, p)
    words = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 3) // 4,))
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    # compared right into numbers: to make them of bools takes longer than all the rest
    keep = torch.ge(bits, cut - _LEVELS // 2, out=torch.empty(x.shape, dtype=x.dtype))
    return x * keep.mul_(_LEVELS / (_LEVELS - cut))
