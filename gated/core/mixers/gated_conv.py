"""Recursive gated convolution (HorNet): interactions of high order without attention."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from gated.core.mixers.base import Grid, TokenMixer
from gated.core.ops import gated_conv
from gated.core.ops._recurrence import Recurrence
from gated.errors import UserError

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class GatedConv(TokenMixer):
    """Recursive gated convolution (gnConv of HorNet, arXiv 2207.14284, section 3.1).

    Tokens are gated by a depthwise convolution of their neighbours, ``order`` times, in channels that double from step
    to step, so that the output holds products of up to ``order + 1`` tokens. Cost linear in ``N``.

    Args:
        dim: channels ``D`` of the tokens.
        order: how often tokens are gated; ``2 ** (order - 1)`` must divide ``dim``.
        kernel_size: taps of the kernels on each axis; large ones are convolved by FFT.
        dims: axes of the grid: 1 for a line of tokens (then no grid is needed), 2 for images, 3 for volumes.
        scale: on what the convolutions give, ``1 / alpha`` of the paper; its code has a third.
        causal: token ``n`` sees tokens ``0..n`` only; then the mixer is stateful. With ``dims=1``.
    """

    stateful = True

    def __init__(
        self,
        dim: int,
        *,
        order: int = 3,
        kernel_size: int = 7,
        dims: Literal[1, 2, 3] = 1,
        scale: float = 1 / 3,
        causal: bool = False,
    ) -> None:
        super().__init__()
        if order < 1 or dim % 2 ** (order - 1):
            raise UserError(
                "GatedConv: order does not fit",
                expected=f"order >= 1 with 2 ** (order - 1) a divisor of dim={dim}",
                found=f"order={order}",
            )
        if dims not in _CONVOLUTIONS or kernel_size < 1:
            raise UserError(
                "GatedConv: unknown kind of kernel",
                expected="dims of 1, 2 or 3 and kernel_size >= 1",
                found=f"dims={dims}, kernel_size={kernel_size}",
            )
        if causal and dims > 1:
            raise UserError("GatedConv: causal needs a line of tokens", expected="dims=1", found=f"dims={dims}")
        self.dims, self.scale, self.causal = dims, scale, causal
        self.needs_grid, self.grid_dims = dims > 1, dims
        widths = [dim // 2 ** (order - 1 - k) for k in range(order)]
        self.widths = [widths[0], sum(widths)]
        self.proj_in = nn.Linear(dim, sum(self.widths))
        self.conv = _CONVOLUTIONS[dims](sum(widths), sum(widths), kernel_size, groups=sum(widths))
        self.mixes = nn.ModuleList(nn.Linear(widths[k], widths[k + 1]) for k in range(order - 1))
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, x_BND: torch.Tensor, *, grid: Grid | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix the tokens; see :class:`TokenMixer`. With ``dims > 1`` the grid of the tokens is needed."""
        if self.needs_grid and (grid is None or len(grid) != self.dims):
            raise UserError(
                f"GatedConv: dims={self.dims} needs the grid of the tokens",
                expected=f"{self.dims} sizes whose product is N={x_BND.shape[1]}",
                found=f"grid={grid}",
            )
        out_BND: torch.Tensor = self.proj(self._convolve(x_BND, grid, mask).output)
        return out_BND

    def init_state(self, batch: int) -> torch.Tensor:
        """What was convolved before the first token: zeros ``[B, kernel_size - 1, C]``."""
        weight = self.conv.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return torch.zeros(batch, weight.shape[2] - 1, self.widths[1], dtype=dtype, device=weight.device)

    def step(self, x_BD: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One token: ``(output [B, D], next state)``; needs ``causal=True``."""
        if not self.causal:
            raise UserError("GatedConv: a state needs causal=True", found="causal=False")
        result = self._convolve(x_BD.unsqueeze(1), None, None, state)
        assert result.state is not None
        return self.proj(result.output).squeeze(1), result.state

    def _convolve(
        self, x_BND: torch.Tensor, grid: Grid | None, mask: torch.Tensor | None, state: torch.Tensor | None = None
    ) -> Recurrence:
        own, context = self.proj_in(x_BND).split(self.widths, -1)
        mixes = [mix for mix in self.mixes if isinstance(mix, nn.Linear)]  # all are: for the type checker
        return gated_conv(
            own,
            context,
            self.conv.weight.squeeze(1),
            self.conv.bias,
            mixes=[mix.weight for mix in mixes],
            mix_biases=[mix.bias for mix in mixes],
            grid=grid if self.needs_grid else None,
            scale=self.scale,
            causal=self.causal,
            mask=mask,
            initial_state=state,
            return_state=state is not None,
        )
