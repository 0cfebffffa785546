"""The gated memory of MossFormer2: a recurrent network without recurrence (arXiv 2312.11825, section 2.2 and fig. 2).

A feed-forward sequential memory network (FSMN, arXiv 1512.08301) stands in for an RNN: long depthwise convolutions see
as far as a recurrent state would, and all frames are computed at once. The norms over time make it look both ways.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.nn.conv_linear import ConvLinear
from gated.core.nn.norm import SequenceNorm


class GatedMemory(nn.Module):
    """One memory block, ``[B, T, D] -> [B, T, D]``, without the residual connection around it.

    In a bottleneck of ``C`` channels, ``y = x + v(x) * memory(u(x))`` with two :class:`ConvLinear` ``u`` and ``v``.

    Args:
        dim: channels ``D``.
        inner_dim: channels ``C`` of the bottleneck.
        order: frames that a memory tap sees on each side, the present one included.
        depth: dilated convolutions in the memory; the dilation doubles with each.
        dropout: dropout after ``u`` and ``v``.
    """

    def __init__(
        self, dim: int, *, inner_dim: int = 256, order: int = 20, depth: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.project_in = nn.Linear(dim, inner_dim)
        self.activation = nn.PReLU()
        self.norm_in = nn.LayerNorm(inner_dim)
        self.to_u = ConvLinear(inner_dim, inner_dim, dropout=dropout, norm=nn.LayerNorm)
        self.to_v = ConvLinear(inner_dim, inner_dim, dropout=dropout, norm=nn.LayerNorm)
        self.memory = Memory(inner_dim, order=order, depth=depth)
        self.norm_out = nn.LayerNorm(inner_dim)
        self.project_out = nn.Linear(inner_dim, dim)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """Return the update of ``x``."""
        x = self.norm_in(self.activation(self.project_in(x_BTD)))
        x = x + self.to_v(x) * self.memory(self.to_u(x))
        out: torch.Tensor = self.project_out(self.norm_out(x))
        return out


class Memory(nn.Module):
    """Dilated FSMN, ``x + dense(W2 relu(W1 x + b))``, ``[B, T, C] -> [B, T, C]``.

    ``dense`` is a chain of depthwise convolutions over time, each followed by a norm over time and a PReLU. Convolution
    ``i`` gets the outputs of all before it, newest first, and the input of the chain: ``(i + 1) * C`` channels in ``C``
    groups of neighbours. Neighbours in that order come from the same output, so a channel of convolution 1 sees two
    channels of one source and not one channel of both; published weights depend on it.

    Args:
        dim: channels ``C``.
        order: frames that a convolution sees on each side at dilation 1, the present one included.
        depth: number of convolutions.
    """

    def __init__(self, dim: int, *, order: int = 20, depth: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, dim, bias=False)
        self.convs = nn.ModuleList(
            nn.Conv1d(
                dim * (i + 1),
                dim,
                2 * order - 1,
                padding=2**i * (order - 1),
                dilation=2**i,
                groups=dim,
                bias=False,
            )
            for i in range(depth)
        )
        self.norms = nn.ModuleList(SequenceNorm(dim, over="time", eps=1e-5) for _ in range(depth))
        self.activations = nn.ModuleList(nn.PReLU(dim) for _ in range(depth))

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """Add what the frames around remember."""
        out_BCT = self.project(F.relu(self.linear(x_BTC))).transpose(1, 2)
        dense_BCT = out_BCT
        for conv, norm, activation in zip(self.convs, self.norms, self.activations, strict=True):
            out_BCT = activation(norm(conv(dense_BCT).transpose(1, 2)).transpose(1, 2))
            dense_BCT = torch.cat((out_BCT, dense_BCT), 1)
        return x_BTC + out_BCT.transpose(1, 2)
