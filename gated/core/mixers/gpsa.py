"""Gated positional self-attention, the local mixer of ConViT."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from gated.core.mixers.base import Grid, TokenMixer
from gated.core.nn.dropout import Dropout
from gated.core.nn.heads import check_heads, merge_heads, split_heads
from gated.core.ops.gpsa import gpsa
from gated.core.ops.gpsa.reference import attention_weights
from gated.errors import UserError


class GPSA(TokenMixer):
    """Gated positional self-attention (ConViT, arXiv 2103.10697, eq. 5 to 7).

    Each head mixes what the tokens say with where they are; ``sigmoid(gating_param)`` is the share of position. With
    ``local_init`` the heads start as the taps of a convolution (eq. 5), so that training begins from a convolutional
    network and each head may open its gate to leave it.

    Args:
        dim: channels ``D`` of the tokens.
        num_heads: heads; must divide ``dim``.
        qkv_bias: bias on the query, key and value projections.
        locality_strength: ``alpha``, how sharply a head looks at its place at the start.
        local_init: start as a convolution; otherwise positions and values start at random.
        proj_dropout: dropout after the output projection.
    """

    needs_grid = True
    supports_mask: ClassVar[bool] = False

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int = 4,
        qkv_bias: bool = False,
        locality_strength: float = 1.0,
        local_init: bool = True,
        proj_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads("GPSA", num_heads, dim)
        self.num_heads = num_heads
        self.locality_strength = locality_strength
        self.local_init = local_init
        self.qk = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        # the bias shifts all scores of a head alike and cancels in the softmax; checkpoints hold it, so it stays
        self.pos_proj = nn.Linear(3, num_heads)
        self.gating_param = nn.Parameter(torch.ones(num_heads))
        self.proj_dropout = Dropout(proj_dropout)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the start: gates at 1 (73 % position); with ``local_init`` head ``i`` looks at tap ``i`` of a kernel.

        The kernel has ``floor(sqrt(num_heads))`` taps a side; heads beyond it keep random positions.
        """
        for linear in (self.qk, self.v, self.proj, self.pos_proj):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        nn.init.ones_(self.gating_param)
        if self.local_init:
            nn.init.eye_(self.v.weight)
            side = int(self.num_heads**0.5)
            centre = side // 2 if side % 2 else (side - 1) / 2
            taps = [(2.0 * (x - centre), 2.0 * (y - centre), -1.0) for x in range(side) for y in range(side)]
            self.pos_proj.weight[: side**2] = self.pos_proj.weight.new_tensor(taps)
            self.pos_proj.weight.mul_(self.locality_strength)

    def forward(
        self, x_BND: torch.Tensor, *, grid: Grid | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix the tokens; see :class:`TokenMixer`. ``grid`` is needed, ``mask`` is not supported."""
        cells = self._check(x_BND, grid, mask)
        q, k = (split_heads(t, self.num_heads) for t in self.qk(x_BND).chunk(2, -1))
        v = split_heads(self.v(x_BND), self.num_heads)
        # the bias cancels; touching it gives it a (zero) gradient, which distributed training insists on
        position = self.pos_proj.weight + 0.0 * self.pos_proj.bias[:, None]
        mixed = gpsa(q, k, v, position, self.gating_param, grid=cells)
        out_BND: torch.Tensor = self.proj_dropout(self.proj(merge_heads(mixed)))
        return out_BND

    def attention_map(self, x_BND: torch.Tensor, *, grid: Grid | None = None) -> torch.Tensor:
        """Return the attention weights ``[B, H, N, N]``: content and position mixed by the gates."""
        cells = self._check(x_BND, grid, None)
        q, k = (split_heads(t, self.num_heads) for t in self.qk(x_BND).chunk(2, -1))
        scale = q.shape[-1] ** -0.5
        return attention_weights(q, k, self.pos_proj.weight, self.gating_param, grid=cells, scale=scale)

    def gate_values(self) -> torch.Tensor:
        """Return the share of position in each head, ``[H]`` in 0..1."""
        return torch.sigmoid(self.gating_param)

    def _check(self, x_BND: torch.Tensor, grid: Grid | None, mask: torch.Tensor | None) -> tuple[int, int]:
        if mask is not None:
            raise UserError(
                "GPSA: a mask is not supported: its positional attention covers the whole grid",
                hint="crop the images to their real size, or take a mixer with supports_mask",
            )
        if grid is None or len(grid) != 2:
            raise UserError(
                "GPSA: needs the grid of the tokens",
                expected=f"grid=(height, width) for N={x_BND.shape[1]}",
                found=f"grid={grid}",
            )
        return grid[0], grid[1]
