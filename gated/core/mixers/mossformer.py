"""The gated single-head attention of MossFormer."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.mixers.base import Grid, TokenMixer, blanked
from gated.core.nn.conv_linear import ConvLinear
from gated.core.nn.rotary import apply_rotary, rotary_angles
from gated.core.ops import local_global


class MossFormerAttention(TokenMixer):
    """Joint local and global single-head attention with attentive gating (MossFormer, arXiv 2302.11824).

    ``v, u = chunk(ConvM(x))`` are both attended with the same scores and gate each other::

        out = ConvM( (att_u * v) * sigmoid(att_v * u) )

    Args:
        dim: channels ``D`` of the tokens.
        qk_dim: channels of queries and keys.
        group_size: tokens that attend to each other in the local part.
        kernel_size: tokens seen by each convolution.
        token_shift: delay the first half of the channels by one token.
        causal: look back only, convolutions included.
        dropout: dropout on the local scores and after each convolution module.
    """

    supports_mask: ClassVar[bool] = True
    normalizes_input: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        *,
        qk_dim: int = 128,
        group_size: int = 256,
        kernel_size: int = 17,
        token_shift: bool = True,
        causal: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.group_size, self.causal, self.dropout, self.token_shift = group_size, causal, dropout, token_shift
        self.rotary_dim = min(32, qk_dim) // 2 * 2  # it turns pairs
        options: dict[str, Any] = {"kernel_size": kernel_size, "causal": causal, "dropout": dropout}
        self.to_hidden = ConvLinear(dim, 4 * dim, **options)
        self.to_qk = ConvLinear(dim, qk_dim, **options)
        self.to_out = ConvLinear(2 * dim, dim, **options)
        # one scale and offset each for: local queries, global queries, local keys, global keys
        self.gamma = nn.Parameter(torch.randn(4, qk_dim) * 0.02)
        self.beta = nn.Parameter(torch.zeros(4, qk_dim))

    def forward(
        self, x_BND: torch.Tensor, *, grid: Grid | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix the tokens; see :class:`TokenMixer`."""
        x_BND = blanked(x_BND, mask)
        if self.token_shift:
            shifted, kept = x_BND.tensor_split(2, -1)
            x_BND = torch.cat((F.pad(shifted, (0, 0, 1, 0))[:, : x_BND.shape[1]], kept), -1)
        v, u = self.to_hidden(x_BND, mask).chunk(2, -1)
        scaled = (
            self.to_qk(x_BND, mask).unsqueeze(1).unsqueeze(1) * self.gamma[:, None, None] + self.beta[:, None, None]
        )
        cos, sin = rotary_angles(x_BND.shape[1], self.rotary_dim, x_BND.device)
        q_local, q_global, k_local, k_global = apply_rotary(scaled, cos, sin).unbind(1)
        att_v, att_u = local_global(
            q_local,
            k_local,
            q_global,
            k_global,
            (v.unsqueeze(1), u.unsqueeze(1)),
            group_size=self.group_size,
            causal=self.causal,
            mask=mask,
            dropout=self.dropout if self.training else 0.0,
        )
        gated = (att_u.squeeze(1) * v) * torch.sigmoid(att_v.squeeze(1) * u)
        return blanked(self.to_out(gated, mask), mask)
