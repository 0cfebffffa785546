from __future__ import annotations

import pytest
import torch
from torch import nn

from gated.core.nn.dropout import Dropout


@pytest.fixture(params=["eager", "compiled"])
def dropout(request):
    """Return ``p -> function``: by drawn bits, or by hashed ones."""

    def made(p: float):
        layer = Dropout(p)
        return layer if request.param == "eager" else torch.compile(layer, backend="aot_eager", fullgraph=True)

    return made


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_of_zeros_and_mean_are_those_of_torch(p, dropout):
    torch.manual_seed(0)
    x = torch.ones(1000, 1001)  # not a multiple of four
    y = dropout(p)(x)
    spread = 5 * (p * (1 - p) / x.numel()) ** 0.5
    assert abs(float((y == 0).double().mean()) - p) < spread + 1e-5
    assert float(y.mean()) == pytest.approx(1.0, abs=5 * (p / (1 - p) / x.numel()) ** 0.5)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-4)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_are_dropped_independently(p, dropout):
    torch.manual_seed(0)
    gone = (dropout(p)(torch.ones(400_000)) == 0).double() - p
    for lag in (*range(1, 9), 13, 16, 64, 512, 4096, 65536):
        bound = p * (1 - p) * 5 / (400_000 - lag) ** 0.5
        assert abs(float((gone[lag:] * gone[:-lag]).mean())) < bound, lag


def test_draws_are_independent_of_each_other(dropout):
    torch.manual_seed(0)
    layer, x = dropout(0.5), torch.ones(1000)
    gone = torch.stack([layer(x) == 0 for _ in range(400)]).double() - 0.5
    assert float((gone.mean(0).abs() * 2 * 400**0.5).max()) < 5  # of each place over draws
    assert float((gone.mean(1).abs() * 2 * 1000**0.5).max()) < 5  # of each draw over places
    likeness = (gone @ gone.T * 4 / 1000**0.5).fill_diagonal_(0)
    assert float(likeness.abs().max()) < 5.5
    assert float(likeness.std()) == pytest.approx(1, abs=0.05)


def test_gradient_goes_through_what_stayed(dropout):
    torch.manual_seed(0)
    x = torch.randn(64, 33, requires_grad=True)
    y = dropout(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), x.detach() * x.grad)


def test_nothing_happens_outside_training_and_at_the_ends():
    x = torch.randn(8, 8)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))
    assert isinstance(Dropout(0.5), nn.Dropout)


def test_seed_decides(dropout):
    layer, x, first, again = dropout(0.5), torch.ones(1000), None, None
    for _ in range(2):
        torch.manual_seed(3)
        first, again = again, layer(x)
    assert torch.equal(first, again)
    assert not torch.equal(again, layer(x))
