"""Moving between tokens ``[B, N, D]`` and heads ``[B, H, N, D / H]``."""

from __future__ import annotations

import torch


def split_heads(x_BND: torch.Tensor, num_heads: int) -> torch.Tensor:
    """``[B, N, H * d] -> [B, H, N, d]``, the head being the slower index of the channels."""
    return x_BND.unflatten(-1, (num_heads, x_BND.shape[-1] // num_heads)).transpose(1, 2)


def merge_heads(x_BHND: torch.Tensor) -> torch.Tensor:
    """``[B, H, N, d] -> [B, N, H * d]``, the inverse of :func:`split_heads`."""
    return x_BHND.transpose(1, 2).flatten(2)
