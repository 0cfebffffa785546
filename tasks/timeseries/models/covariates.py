"""What a forecaster knows beside the past of its targets: an extension that is no part of Gateformer's paper."""

from __future__ import annotations

import torch
from torch import nn


class KnownAhead(nn.Module):
    """Covariates that are known over the whole window, the forecast's steps included.

    They enter in two ways. Each is a token in the attention over variates, so that a series sees how it and the
    covariate moved together. And each step has its own features ``u_t = phi(c_t)``, to which every series responds
    by a vector read from its token: ``sum_d response_nd (u_(L+h) - mean_(t<=L) u_t)_d``. Only the change against the
    window counts, as the series is normalised by its window too.

    Args:
        count: covariates ``F``.
        input_size: steps ``L`` before the forecast.
        horizon: steps ``H`` of the forecast.
        d_model: size of a token.
    """

    def __init__(self, count: int, input_size: int, horizon: int, d_model: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.embed = nn.Linear(input_size + horizon, d_model)
        self.identity = nn.Parameter(0.02 * torch.randn(count, d_model))
        self.features = nn.Sequential(nn.Linear(count, d_model), nn.GELU(), nn.Linear(d_model, d_model))
        self.response = nn.Linear(d_model, d_model)
        nn.init.zeros_(self.response.weight)
        nn.init.zeros_(self.response.bias)

    def tokens(self, future_BTF: torch.Tensor) -> torch.Tensor:
        """Return a token for each covariate, ``[B, F, D]``."""
        tokens: torch.Tensor = self.embed(future_BTF.transpose(1, 2)) + self.identity
        return tokens

    def effect(self, future_BTF: torch.Tensor, tokens_BND: torch.Tensor) -> torch.Tensor:
        """Return what they add to the normalised forecast of each series, ``[B, N, H]``."""
        features_BTD = self.features(future_BTF)
        change_BHD = features_BTD[:, self.input_size :] - features_BTD[:, : self.input_size].mean(1, keepdim=True)
        effect: torch.Tensor = self.response(tokens_BND) @ change_BHD.transpose(1, 2)
        return effect
