"""Gated DeltaNet."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.mixers.base import Grid, TokenMixer, blanked
from gated.core.nn.heads import check_heads, merge_heads, split_heads
from gated.core.ops import delta_recurrence
from gated.core.ops._recurrence import Direction
from gated.errors import UserError


class GatedDeltaNet(TokenMixer):
    """Linear attention that overwrites what it holds for a key and forgets (Gated DeltaNet, arXiv 2412.06464, eq. 10).

    ``q, k, v = silu(conv(W x))``, ``q`` and ``k`` of length 1, ``beta = sigmoid(W_b x)``, one log forget gate a head,
    ``-exp(A) softplus(W_a x + b)``; ``out = W_o (RMSNorm(o) * silu(W_g x))``. Cost linear in ``N``. Without ``causal``
    the rule runs in both directions with the same weights, the outputs are added and the convolution looks both ways.

    Args:
        dim: channels ``D`` of the tokens.
        num_heads: heads; must divide the widths of keys and values.
        expand_k: width of queries and keys as a multiple of ``dim``.
        expand_v: width of values as a multiple of ``dim``.
        conv_size: tokens that the depthwise convolution on queries, keys and values spans.
        causal: token ``n`` sees tokens ``0..n`` only.
    """

    supports_mask: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int = 4,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        conv_size: int = 4,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.widths = [round(expand_k * dim)] * 2 + [round(expand_v * dim)]
        check_heads("GatedDeltaNet", num_heads, *self.widths)
        if conv_size < 1:
            raise UserError(
                "GatedDeltaNet: conv_size must hold a token", expected=">= 1", found=f"conv_size={conv_size}"
            )
        self.num_heads, self.causal, self.conv_size = num_heads, causal, conv_size
        self.qkv = nn.Linear(dim, sum(self.widths), bias=False)
        self.conv = nn.Parameter(torch.empty(conv_size, sum(self.widths)))
        nn.init.uniform_(self.conv, -(conv_size**-0.5), conv_size**-0.5)
        self.beta = nn.Linear(dim, num_heads, bias=False)
        self.forget = nn.Linear(dim, num_heads)
        self.log_rate = nn.Parameter(torch.empty(num_heads).uniform_(1e-3, 16.0).log())
        with (
            torch.no_grad()
        ):  # softplus(bias) is log-uniform in 1e-3 .. 0.1: from a slow to a fast forgetting at the start
            wanted = torch.empty(num_heads).uniform_(math.log(1e-3), math.log(0.1)).exp()
            self.forget.bias.copy_(wanted + torch.log(-torch.expm1(-wanted)))
        self.gate = nn.Linear(dim, self.widths[2], bias=False)
        self.norm = nn.RMSNorm(self.widths[2] // num_heads, eps=1e-5)
        self.proj = nn.Linear(self.widths[2], dim, bias=False)

    def forward(
        self, x_BND: torch.Tensor, *, grid: Grid | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix the tokens; see :class:`TokenMixer`."""
        x_BND = blanked(x_BND, mask)
        mixed = F.silu(self._convolve(self.qkv(x_BND)))
        q, k, v = (split_heads(t, self.num_heads) for t in mixed.split(self.widths, -1))
        beta = torch.sigmoid(self.beta(x_BND)).mT
        log_decay = self.log_forget(x_BND)
        out = torch.zeros_like(v)
        directions: tuple[Direction, ...] = ("forward",) if self.causal else ("forward", "reverse")
        for direction in directions:
            # the gate is at most 0 by construction, so there is nothing to check
            out = (
                out
                + delta_recurrence(
                    _unit(q), _unit(k), v, beta, log_decay, direction=direction, mask=mask, check=False
                ).output
            )
        out_BND: torch.Tensor = self.proj(merge_heads(self.norm(out)) * F.silu(self.gate(x_BND)))
        return out_BND

    def log_forget(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Log of the forget gate ``[B, H, N]``, in fp32 or better."""
        raw = self.forget(x_BND)
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        log_forget: torch.Tensor = (-self.log_rate.to(raw.dtype).exp() * F.softplus(raw)).mT
        return log_forget

    def _convolve(self, x_BNC: torch.Tensor) -> torch.Tensor:
        """Depthwise convolution written as shifts, so that it takes sequences shorter than itself, empty ones too."""
        length, after = x_BNC.shape[1], 0 if self.causal else (self.conv_size - 1) // 2
        padded = F.pad(x_BNC, (0, 0, self.conv_size - 1 - after, after))
        out = torch.zeros_like(x_BNC)
        for i in range(self.conv_size):
            out = out + self.conv[i] * padded[:, i : i + length]
        return out


def _unit(x: torch.Tensor) -> torch.Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) + 1e-6)).to(x.dtype)
