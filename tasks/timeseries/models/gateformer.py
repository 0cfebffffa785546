"""Gateformer: attention over time and over variates, joined by gates (arXiv 2505.00307).

Each variate is seen twice, as one token of the whole window (eq. 1) and as a sequence of patches that attend to each
other (eq. 2 to 4). A first gate fuses both (eq. 5), the variates attend to each other (eq. 6 and 7), a second gate
fuses what a variate knew with what it heard (eq. 8), and one linear map gives the forecast (eq. 9).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from gated.core.mixers import SoftmaxAttention
from gated.core.mixers.base import MixerFactory, TokenMixer, require
from gated.core.nn.block import PreNormBlock
from gated.core.nn.buildable import Buildable
from gated.core.nn.fusion import GatedFusion
from gated.core.nn.instance_norm import instance_normalize
from gated.core.nn.mlp import MLP
from gated.core.nn.patching import SeriesPatches
from gated.errors import UserError


class Gates(NamedTuple):
    """Values of the two gates, in (0, 1), ``[B, N, d_model]`` each.

    Attributes:
        temporal: share of the whole-window token against the attended patches.
        variate: share of a variate's own state against what it took from the other variates.
    """

    temporal: torch.Tensor
    variate: torch.Tensor


class Gateformer(Buildable):
    """Forecast ``[B, horizon, N]`` from ``[B, input_size, N]``.

    Equal to the official code, weight for weight (``gated.convert_weights(sd, "official/gateformer")``), which in
    places differs from the paper's words: the whole window is embedded by one linear map, not an MLP; the last patch
    repeats the last value; there is no norm after the layers. In one thing this class differs: the official layers
    of one stack start as copies of each other, here each draws its own weights, since copies only slow the first steps.

    No weight depends on the number of variates ``N``, so one model serves any table; with attention as variate
    mixer their order does not matter either.

    Args:
        input_size: steps ``L`` that the model looks back.
        horizon: steps that it forecasts.
        num_series: number of variates; not needed, but checked in ``forward`` where given.
        d_model: size of a token.
        d_ff: hidden size of the MLPs.
        num_layers: layers over time, and as many over variates.
        num_heads: heads of the default mixers.
        patch_size: values in a patch.
        stride: steps between patches.
        dropout: everywhere the official code has it, attention weights included.
        temporal_mixer: ``dim -> mixer`` over patches; None is softmax attention with ``num_heads`` and ``dropout``.
        variate_mixer: ``dim -> mixer`` over variates; None as above. It can't be causal: variates have no order.

    Raises:
        UserError: the patches don't fit, the heads don't divide ``d_model`` or a mixer can't serve here.

    Example:
        >>> Gateformer(96, 24, d_model=64, d_ff=64, num_heads=4)(torch.randn(2, 96, 7)).shape
        torch.Size([2, 24, 7])
    """

    def __init__(
        self,
        input_size: int,
        horizon: int,
        *,
        num_series: int | None = None,
        d_model: int = 512,
        d_ff: int = 2048,
        num_layers: int = 2,
        num_heads: int = 8,
        patch_size: int = 8,
        stride: int = 8,
        dropout: float = 0.1,
        temporal_mixer: MixerFactory | None = None,
        variate_mixer: MixerFactory | None = None,
    ) -> None:
        super().__init__()
        self.input_size, self.horizon, self.num_series = input_size, horizon, num_series
        attention: MixerFactory = partial(SoftmaxAttention, num_heads=num_heads, dropout=dropout)

        def over_time(dim: int) -> TokenMixer:
            return require((temporal_mixer or attention)(dim), "Gateformer (temporal_mixer)", needs_grid=False)

        def over_variates(dim: int) -> TokenMixer:
            mixer = (variate_mixer or attention)(dim)
            return require(mixer, "Gateformer (variate_mixer)", needs_grid=False, causal=False)

        def layers(mixer: MixerFactory) -> nn.Sequential:
            def mlp() -> MLP:
                return MLP(d_model, d_ff, activation=nn.ReLU, dropout=dropout)

            return nn.Sequential(
                *(PreNormBlock(d_model, mixer(d_model), mlp=mlp(), drop=nn.Dropout(dropout)) for _ in range(num_layers))
            )

        self.dropout = nn.Dropout(dropout)
        self.patches = SeriesPatches(input_size, d_model, patch_size=patch_size, stride=stride, dropout=dropout)
        self.patch_head = nn.Linear(d_model * self.patches.num_patches, d_model)
        self.window_embed = nn.Linear(input_size, d_model)
        self.temporal_gate = GatedFusion(d_model)
        self.variate_gate = GatedFusion(d_model)
        self.temporal_layers = layers(over_time)
        self.variate_layers = layers(over_variates)
        self.projection = nn.Linear(d_model, horizon)

    def forward(self, x_BLN: torch.Tensor) -> torch.Tensor:
        """Return the forecast ``[B, horizon, N]`` of the window ``[B, input_size, N]``."""
        return self.forward_with_gates(x_BLN)[0]

    def forward_with_gates(self, x_BLN: torch.Tensor) -> tuple[torch.Tensor, Gates]:
        """Return the forecast, and the values of both gates to look at."""
        self._check(x_BLN)
        x_BLN, stats = instance_normalize(x_BLN)
        x_BNL = x_BLN.transpose(1, 2)
        window_BND = self.dropout(self.window_embed(x_BNL))
        patched_BND = self._over_time(x_BNL)
        temporal_gate = self.temporal_gate.gate(window_BND, patched_BND)
        own_BND = torch.lerp(patched_BND, window_BND, temporal_gate)
        heard_BND = self.variate_layers(own_BND)
        variate_gate = self.variate_gate.gate(own_BND, heard_BND)
        y_BNH = self.projection(torch.lerp(heard_BND, own_BND, variate_gate))
        return stats.undo(y_BNH.transpose(1, 2)), Gates(temporal_gate, variate_gate)

    def _over_time(self, x_BNL: torch.Tensor) -> torch.Tensor:
        """Attend over the patches of each variate and pack them into one token: ``[B, N, L] -> [B, N, D]``."""
        tokens_MPD = self.temporal_layers(self.patches(x_BNL.flatten(0, 1)))
        # channel-major, as in the official weights
        packed_MD = self.patch_head(tokens_MPD.transpose(1, 2).flatten(1))
        return self.dropout(packed_MD).unflatten(0, x_BNL.shape[:2])

    def _check(self, x_BLN: torch.Tensor) -> None:
        """Check the window's shape."""
        series = x_BLN.shape[-1] if self.num_series is None else self.num_series
        if x_BLN.dim() != 3 or x_BLN.shape[1:] != (self.input_size, series):
            raise UserError(
                "Gateformer: the window has the wrong shape",
                expected=f"[batch, input_size={self.input_size}, num_series={self.num_series or 'any'}]",
                found=str(list(x_BLN.shape)),
            )
