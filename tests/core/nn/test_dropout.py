from __future__ import annotations

import pytest
import torch
from torch import nn

from gated.core.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_of_zeros_and_mean_are_those_of_torch(p):
    torch.manual_seed(0)
    x = torch.ones(1000, 1001)  # not a multiple of four
    y = Dropout(p)(x)
    spread = 5 * (p * (1 - p) / x.numel()) ** 0.5
    assert abs(float((y == 0).double().mean()) - p) < spread + 1e-5
    assert float(y.mean()) == pytest.approx(1.0, abs=5 * (p / (1 - p) / x.numel()) ** 0.5)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-4)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    gone = (Dropout(0.5)(torch.ones(400_000)) == 0).double() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert abs(float((gone[lag:] * gone[:-lag]).mean())) < 0.25 * 5 / 400_000**0.5


def test_gradient_goes_through_what_stayed():
    x = torch.randn(64, 33, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), x.detach() * x.grad)


def test_nothing_happens_outside_training_and_at_the_ends():
    x = torch.randn(8, 8)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))
    assert isinstance(Dropout(0.5), nn.Dropout)


def test_seed_decides():
    x, first, again = torch.ones(1000), None, None
    for _ in range(2):
        torch.manual_seed(3)
        first, again = again, Dropout(0.5)(x)
    assert torch.equal(first, again)
    assert not torch.equal(again, Dropout(0.5)(x))
