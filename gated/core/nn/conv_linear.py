"""The convolution module of MossFormer: a linear layer that also looks a few frames around itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.nn.dropout import Dropout
from gated.core.nn.norm import ScaleNorm


class DepthwiseConv(nn.Module):
    """``x + depthwise convolution of x over the tokens``, ``[B, N, D] -> [B, N, D]``, no bias.

    Args:
        dim: channels.
        kernel_size: odd number of tokens that an output sees.
        causal: look back only.
    """

    def __init__(self, dim: int, kernel_size: int = 17, *, causal: bool = False) -> None:
        super().__init__()
        self.left = kernel_size - 1 if causal else kernel_size // 2
        self.right = kernel_size - 1 - self.left
        self.conv = nn.Conv1d(dim, dim, kernel_size, groups=dim, bias=False)

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Convolve over N."""
        if x_BND.shape[1] == 0:
            return x_BND
        padded = F.pad(x_BND.transpose(1, 2), (self.left, self.right))
        out: torch.Tensor = x_BND + self.conv(padded).transpose(1, 2)
        return out


class ConvLinear(nn.Module):
    """Norm, Linear, SiLU, depthwise convolution, Dropout (MossFormer, arXiv 2302.11824, fig. 2c: "ConvM").

    Args:
        in_dim: channels in.
        out_dim: channels out.
        kernel_size: tokens that an output sees.
        causal: look back only.
        dropout: dropout at the end.
        norm: ``dim -> norm`` at the start.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        kernel_size: int = 17,
        causal: bool = False,
        dropout: float = 0.1,
        norm: Callable[[int], nn.Module] = ScaleNorm,
    ) -> None:
        super().__init__()
        self.norm = norm(in_dim)
        self.linear = nn.Linear(in_dim, out_dim)
        self.conv = DepthwiseConv(out_dim, kernel_size, causal=causal)
        self.dropout = Dropout(dropout)

    def forward(self, x_BND: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """``[B, N, in_dim] -> [B, N, out_dim]``; masked tokens are silent to their neighbours."""
        hidden = F.silu(self.linear(self.norm(x_BND)))
        if mask is not None:
            hidden = hidden.masked_fill(~mask.unsqueeze(-1), 0.0)
        out: torch.Tensor = self.dropout(self.conv(hidden))
        return out
