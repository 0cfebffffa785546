"""The gated attention unit of FLASH."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.mixers.base import Grid, TokenMixer
from gated.core.nn.rotary import apply_rotary, rotary_angles
from gated.core.ops import local_global


class GatedAttentionUnit(TokenMixer):
    """Single-head gated attention of linear cost (FLASH, arXiv 2202.10447).

    ``u, v = SiLU(x W)``; the attended ``v`` is gated by ``u``: ``out = W_o (u * (local + global attention of v))``.

    Args:
        dim: channels ``D`` of the tokens.
        expansion: width of ``u`` and ``v`` as a multiple of ``dim``.
        qk_dim: channels of queries and keys.
        group_size: tokens that attend to each other in the local part.
        causal: look back only.
        dropout: probability of dropping a local attention weight in training.
    """

    supports_mask: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        *,
        expansion: float = 2.0,
        qk_dim: int = 128,
        group_size: int = 256,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.group_size, self.causal, self.dropout = group_size, causal, dropout
        self.width = round(expansion * dim)
        self.qk_dim, self.rotary_dim = qk_dim, min(32, qk_dim) // 2 * 2  # it turns pairs
        self.to_uvz = nn.Linear(dim, 2 * self.width + qk_dim)
        # one scale and offset each for: local queries, global queries, local keys, global keys
        self.gamma = nn.Parameter(torch.randn(4, qk_dim) * 0.02)
        self.beta = nn.Parameter(torch.zeros(4, qk_dim))
        self.proj = nn.Linear(self.width, dim)

    def forward(
        self, x_BND: torch.Tensor, *, grid: Grid | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix the tokens; see :class:`TokenMixer`."""
        u, v, z = F.silu(self.to_uvz(x_BND)).split([self.width, self.width, self.qk_dim], -1)
        scaled = z.unsqueeze(1).unsqueeze(1) * self.gamma[:, None, None] + self.beta[:, None, None]
        cos, sin = rotary_angles(x_BND.shape[1], self.rotary_dim, x_BND.device)
        q_local, q_global, k_local, k_global = apply_rotary(scaled, cos, sin).unbind(1)
        (attended,) = local_global(
            q_local,
            k_local,
            q_global,
            k_global,
            (v.unsqueeze(1),),
            group_size=self.group_size,
            causal=self.causal,
            mask=mask,
            dropout=self.dropout if self.training else 0.0,
        )
        out: torch.Tensor = self.proj(u * attended.squeeze(1))
        return out
