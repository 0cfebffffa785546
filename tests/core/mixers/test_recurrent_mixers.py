"""What the contract of all mixers does not say of `GatedLinearAttention` and `GatedDeltaNet`."""

from __future__ import annotations

import pytest
import torch

from gated.core.mixers import GatedDeltaNet, GatedLinearAttention
from gated.errors import UserError


def test_gla_without_causal_does_not_know_left_from_right():
    mixer = GatedLinearAttention(16).double()
    with torch.no_grad():  # gates that do not depend on the token lie the same way from either side
        mixer.forget[1].weight.zero_()
    x = torch.randn(2, 30, 16, dtype=torch.float64)
    torch.testing.assert_close(mixer(x.flip(1)).flip(1), mixer(x), rtol=1e-11, atol=1e-12)


def test_delta_net_starts_with_slow_and_fast_heads():
    mixer = GatedDeltaNet(64, num_heads=64)
    rates = torch.nn.functional.softplus(mixer.forget.bias)
    assert rates.min() > 0.9e-3
    assert rates.max() < 0.11
    log_forget = mixer.log_forget(torch.randn(2, 9, 64))
    assert log_forget.shape == (2, 64, 9)
    assert (log_forget < 0).all()


@pytest.mark.parametrize("mixer", [GatedLinearAttention, GatedDeltaNet])
def test_heads_that_do_not_fit_are_named(mixer):
    with pytest.raises(UserError, match=r"(?s)num_heads does not fit.*num_heads=5"):
        mixer(16, num_heads=5)
