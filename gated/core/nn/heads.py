"""Moving between tokens ``[B, N, D]`` and heads ``[B, H, N, D / H]``."""

from __future__ import annotations

import torch

from gated.errors import UserError


def check_heads(module: str, num_heads: int, *widths: int) -> None:
    """Check that ``num_heads`` divides every one of ``widths``, none of which it leaves empty.

    Raises:
        UserError: it does not.
    """
    if num_heads < 1 or any(width < 1 or width % num_heads for width in widths):
        channels = " and ".join(map(str, dict.fromkeys(widths)))
        raise UserError(
            f"{module}: num_heads does not fit",
            expected=f"a divisor of {channels}, the channels to be split into heads",
            found=f"num_heads={num_heads}",
        )


def split_heads(x_BND: torch.Tensor, num_heads: int) -> torch.Tensor:
    """``[B, N, H * d] -> [B, H, N, d]``, the head being the slower index of the channels."""
    return x_BND.unflatten(-1, (num_heads, x_BND.shape[-1] // num_heads)).transpose(1, 2)


def merge_heads(x_BHND: torch.Tensor) -> torch.Tensor:
    """``[B, H, N, d] -> [B, N, H * d]``, the inverse of :func:`split_heads`."""
    return x_BHND.transpose(1, 2).flatten(2)
