"""Dropout on a CPU whose random numbers cost less than the values they drop."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_LEVELS = 1 << 16


def dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """Zero values of ``x`` with probability ``p`` and scale the others up, on a CPU at a quarter of torch's price.

    torch draws a uniform number for each value, one after the other, which in a small model takes as long as the
    matrix products. Here one draw of 64 bits serves four values; under ``torch.compile`` it is the seed of a hash of
    the place of each value, which fuses with what stands around it. The probability is rounded to 1/65536; values that
    stay are scaled by the probability that was really used. On other devices it is ``F.dropout`` itself.
    """
    cut = round(p * _LEVELS)
    if cut == 0 or cut >= _LEVELS or x.device.type != "cpu":
        return F.dropout(x, p)
    keep = (_hashed if torch.compiler.is_compiling() else _drawn)(x, cut)
    return x * keep.mul_(_LEVELS / (_LEVELS - cut))


def _drawn(x: torch.Tensor, cut: int) -> torch.Tensor:
    """Return 1 where a value stays and 0 where it goes, by 16 random bits for each."""
    words = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 3) // 4,))
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    # compared right into numbers: to make them of bools takes longer than all the rest
    return torch.ge(bits, cut - _LEVELS // 2, out=torch.empty(x.shape, dtype=x.dtype))


def _hashed(x: torch.Tensor, cut: int) -> torch.Tensor:
    """Return the same as :func:`_drawn`, by 31 bits of a hash of each value's place and of one draw of 64 bits.

    Two rounds of multiply and shift in 32 bits (C. Wellons' lowbias32), half of the draw before and half behind. No
    comparison: a boolean that inductor keeps for the backward pass takes it longer to store than ten numbers.
    """
    before, behind = torch.randint(-(2**63), 2**63 - 1, (1,)).view(torch.int32).unbind()
    bits = torch.arange(x.numel(), dtype=torch.int32).view(x.shape) * _int32(0x9E3779B1) + before
    bits = (bits ^ (bits >> 16 & 0xFFFF)) * _int32(0x7FEB352D)
    bits = (bits ^ (bits >> 15 & 0x1FFFF)) * _int32(0x846CA68B) ^ behind
    below = (bits & 0x7FFFFFFF) - (cut << 15) >> 31  # -1 where the 31 bits lie below the cut, else 0
    return (1 + below).to(x.dtype)


def _int32(unsigned: int) -> int:
    """Return the signed number with the same 32 bits."""
    return unsigned - (1 << 32) if unsigned >> 31 else unsigned
