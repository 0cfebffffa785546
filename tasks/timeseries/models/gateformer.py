"""Gateformer: attention over time and over variates, joined by gates (arXiv 2505.00307).

Each variate is seen twice, as one token of the whole window (eq. 1) and as a sequence of patches that attend to each
other (eq. 2 to 4). A first gate fuses both (eq. 5), the variates attend to each other (eq. 6 and 7), a second gate
fuses what a variate knew with what it heard (eq. 8), and one linear map gives the forecast (eq. 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import nn

from gated.core.mixers import SoftmaxAttention
from gated.core.mixers.base import MixerFactory, TokenMixer, require
from gated.core.nn.block import PreNormBlock
from gated.core.nn.buildable import Buildable
from gated.core.nn.dropout import Dropout
from gated.core.nn.fusion import GatedFusion, MeanFusion
from gated.core.nn.instance_norm import instance_normalize
from gated.core.nn.mlp import MLP
from gated.core.nn.patching import SeriesPatches
from gated.core.nn.relu import ReLU
from gated.errors import UserError
from tasks.timeseries.models.covariates import KnownAhead


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

    Beyond the paper, and off unless asked for: covariates, quantiles and a linear shortcut. Without them the model is
    the paper's, weight for weight.

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
        gates: which of the two gates there are; one that is left out is a plain mean of what it would fuse.
        num_variate_layers: layers over variates where not ``num_layers``; with 0 no series hears of another.
        shortcut: add one linear map of the normalised window to the forecast, shared by all variates. It is no part of
            the paper's model. It is zero at first; training sets it to a fitted map (:meth:`start_from_linear`), and
            the rest learns what that misses.
        quantiles: probabilities in ascending order; the forecast is then ``[B, horizon, N, Q]``.
        num_past: covariates that are looked at like a series and not forecast.
        num_future: covariates that are known for the forecast's steps too (see :class:`KnownAhead`).
        num_static: numbers that belong to a window's group; they are added to the token of the whole window.
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
        gates: Literal["both", "temporal", "variate", "none"] = "both",
        num_variate_layers: int | None = None,
        shortcut: bool = False,
        quantiles: Sequence[float] = (),
        num_past: int = 0,
        num_future: int = 0,
        num_static: int = 0,
        temporal_mixer: MixerFactory | None = None,
        variate_mixer: MixerFactory | None = None,
    ) -> None:
        super().__init__()
        if list(quantiles) != sorted(quantiles) or not all(0 < q < 1 for q in quantiles):
            raise UserError(
                "Gateformer: quantiles must ascend between 0 and 1", expected="[0.1, 0.5, 0.9]", found=str(quantiles)
            )
        self.input_size, self.horizon, self.num_series = input_size, horizon, num_series
        self.quantiles = tuple(quantiles)
        self.covariates = {"past": num_past, "future": num_future, "static": num_static}
        attention: MixerFactory = partial(SoftmaxAttention, num_heads=num_heads, dropout=dropout)

        def over_time(dim: int) -> TokenMixer:
            return require((temporal_mixer or attention)(dim), "Gateformer (temporal_mixer)", needs_grid=False)

        def over_variates(dim: int) -> TokenMixer:
            mixer = (variate_mixer or attention)(dim)
            return require(mixer, "Gateformer (variate_mixer)", needs_grid=False, causal=False)

        def layers(mixer: MixerFactory, count: int) -> nn.Sequential:
            def mlp() -> MLP:
                return MLP(d_model, d_ff, activation=ReLU, dropout=dropout)

            return nn.Sequential(
                *(PreNormBlock(d_model, mixer(d_model), mlp=mlp(), drop=Dropout(dropout)) for _ in range(count))
            )

        self.dropout = Dropout(dropout)
        self.patches = SeriesPatches(input_size, d_model, patch_size=patch_size, stride=stride, dropout=dropout)
        self.patch_head = nn.Linear(d_model * self.patches.num_patches, d_model)
        self.window_embed = nn.Linear(input_size, d_model)
        self.temporal_gate = GatedFusion(d_model) if gates in ("both", "temporal") else MeanFusion()
        self.variate_gate = GatedFusion(d_model) if gates in ("both", "variate") else MeanFusion()
        self.temporal_layers = layers(over_time, num_layers)
        self.variate_layers = layers(over_variates, num_layers if num_variate_layers is None else num_variate_layers)
        self.projection = nn.Linear(d_model, horizon * max(1, len(quantiles)))
        self.shortcut = nn.Linear(input_size, horizon, bias=False) if shortcut else None
        if self.shortcut is not None:
            nn.init.zeros_(self.shortcut.weight)
        self.past_identity = nn.Parameter(0.02 * torch.randn(num_past, d_model)) if num_past else None
        self.known_ahead = KnownAhead(num_future, input_size, horizon, d_model) if num_future else None
        self.static_embed = nn.Linear(num_static, d_model) if num_static else None

    def forward(
        self,
        x_BLN: torch.Tensor,
        *,
        past: torch.Tensor | None = None,
        future: torch.Tensor | None = None,
        static: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the forecast ``[B, horizon, N]`` of the window ``[B, input_size, N]``; with quantiles ``[..., Q]``.

        Args:
            x_BLN: the window.
            past: ``[B, input_size, num_past]``.
            future: ``[B, input_size + horizon, num_future]``.
            static: ``[B, num_static]``.
        """
        return self.forward_with_gates(x_BLN, past=past, future=future, static=static)[0]

    def forward_with_gates(
        self,
        x_BLN: torch.Tensor,
        *,
        past: torch.Tensor | None = None,
        future: torch.Tensor | None = None,
        static: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Gates]:
        """Return the forecast, and the values of both gates to look at (those of past covariates after the series)."""
        self._check(x_BLN, past=past, future=future, static=static)
        series = x_BLN.shape[-1]
        seen_BLN = x_BLN if past is None else torch.cat((x_BLN, past), dim=-1)
        seen_BLN, stats = instance_normalize(seen_BLN)
        x_BNL = seen_BLN.transpose(1, 2)
        window_BND = self.dropout(self._embed(x_BNL, static))
        patched_BND = self._over_time(x_BNL)
        temporal_gate = self.temporal_gate.gate(window_BND, patched_BND)
        own_BND = torch.lerp(patched_BND, window_BND, temporal_gate)
        tokens_BND = own_BND
        if self.known_ahead is not None:
            tokens_BND = torch.cat((own_BND, self.known_ahead.tokens(future)), dim=1)
        heard_BND = self.variate_layers(tokens_BND)[:, : own_BND.shape[1]]
        variate_gate = self.variate_gate.gate(own_BND, heard_BND)
        fused_BND = torch.lerp(heard_BND, own_BND, variate_gate)[:, :series]
        y_BNH = self.projection(fused_BND)
        common_BNH = self._beside(x_BNL[:, :series], fused_BND, future)
        if self.quantiles:
            y_BNHQ = y_BNH.unflatten(-1, (self.horizon, -1))
            y_BNHQ = y_BNHQ if common_BNH is None else y_BNHQ + common_BNH.unsqueeze(-1)
            # quantiles must not cross; sorting them never raises the pinball loss (arXiv 0704.3649)
            y_BHQN = y_BNHQ.sort(dim=-1).values.permute(0, 2, 3, 1)
            y = stats.first(series).undo(y_BHQN.flatten(1, 2)).unflatten(1, (self.horizon, -1)).transpose(2, 3)
        else:
            y_BNH = y_BNH if common_BNH is None else y_BNH + common_BNH
            y = stats.first(series).undo(y_BNH.transpose(1, 2))
        return y, Gates(temporal_gate, variate_gate)

    def _embed(self, x_BNL: torch.Tensor, static: torch.Tensor | None) -> torch.Tensor:
        """Return a token for each whole window, ``[B, N + P, D]``."""
        window_BND = self.window_embed(x_BNL)
        if self.static_embed is not None:
            window_BND = window_BND + self.static_embed(static).unsqueeze(1)
        if self.past_identity is not None:
            own, other = window_BND.split([x_BNL.shape[1] - len(self.past_identity), len(self.past_identity)], dim=1)
            window_BND = torch.cat((own, other + self.past_identity), dim=1)
        return window_BND

    def _beside(self, x_BNL: torch.Tensor, fused_BND: torch.Tensor, future: torch.Tensor | None) -> torch.Tensor | None:
        """Return what is added to the forecast beyond the paper's model, ``[B, N, H]``; None without any."""
        parts = []
        if self.shortcut is not None:
            parts.append(self.shortcut(x_BNL))
        if self.known_ahead is not None:
            parts.append(self.known_ahead.effect(future, fused_BND))
        return sum(parts[1:], parts[0]) if parts else None

    @torch.no_grad()
    def start_from_linear(self, weight_LH: torch.Tensor) -> None:
        """Make the untrained model forecast ``weight_LH`` ``[input_size, horizon]`` times the centred window, exactly.

        Raises:
            UserError: the model has no shortcut.
        """
        if self.shortcut is None:
            raise UserError("Gateformer: there is no shortcut to set", hint="build it with shortcut=True")
        self.shortcut.weight.copy_(weight_LH.T)
        for parameter in self.projection.parameters():
            parameter.zero_()

    def _over_time(self, x_BNL: torch.Tensor) -> torch.Tensor:
        """Attend over the patches of each variate and pack them into one token: ``[B, N, L] -> [B, N, D]``."""
        tokens_MPD = self.temporal_layers(self.patches(x_BNL.flatten(0, 1)))
        # channel-major, as in the official weights
        packed_MD = self.patch_head(tokens_MPD.transpose(1, 2).flatten(1))
        return self.dropout(packed_MD).unflatten(0, x_BNL.shape[:2])

    def _check(self, x_BLN: torch.Tensor, **covariates: torch.Tensor | None) -> None:
        """Check the shapes of the window and of what goes with it."""
        series = x_BLN.shape[-1] if self.num_series is None else self.num_series
        if x_BLN.dim() != 3 or x_BLN.shape[1:] != (self.input_size, series):
            raise UserError(
                "Gateformer: the window has the wrong shape",
                expected=f"[batch, input_size={self.input_size}, num_series={self.num_series or 'any'}]",
                found=str(list(x_BLN.shape)),
            )
        steps = {"past": (self.input_size,), "future": (self.input_size + self.horizon,), "static": ()}
        for name, value in covariates.items():
            count = self.covariates[name]
            wanted = (len(x_BLN), *steps[name], count) if count else None
            found = None if value is None else tuple(value.shape)
            if found != wanted:
                raise UserError(
                    f"Gateformer: {name} covariates do not fit the model",
                    expected="none" if wanted is None else f"{list(wanted)} (num_{name}={count})",
                    found="none" if found is None else str(list(found)),
                )
