"""`gated_conv` beside the networks that it comes from, written as their papers have them, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gated.core.ops import gated_conv
from gated.errors import UserError

GRID = (5, 7)


def tokens(planes: torch.Tensor) -> torch.Tensor:
    """``[B, C, H, W] -> [B, H W, C]``."""
    return planes.flatten(2).mT


@pytest.mark.parametrize("order", [1, 2, 5])
def test_it_is_the_recursion_of_hornet(order: int):
    """Section 3.1 of the paper, channels first and with torch's modules, as one would write it down."""
    widths = [32 // 2 ** (order - 1 - k) for k in range(order)]
    depthwise = nn.Conv2d(sum(widths), sum(widths), 7, padding=3, groups=sum(widths)).double()
    pointwise = [nn.Conv2d(widths[k], widths[k + 1], 1).double() for k in range(order - 1)]
    p, q = (torch.randn(2, width, *GRID, dtype=torch.float64) for width in (widths[0], sum(widths)))
    seen = (depthwise(q) / 3).split(widths, 1)
    expected = p * seen[0]
    for layer, gate in zip(pointwise, seen[1:], strict=True):
        expected = layer(expected) * gate
    for impl in ("reference", "chunk"):
        got = gated_conv(
            tokens(p),
            tokens(q),
            depthwise.weight.squeeze(1),
            depthwise.bias,
            mixes=[layer.weight[:, :, 0, 0] for layer in pointwise],
            mix_biases=[layer.bias for layer in pointwise],
            grid=GRID,
            scale=1 / 3,
            impl=impl,
        )
        torch.testing.assert_close(got.output, tokens(expected), rtol=1e-12, atol=1e-12)
        assert got.state is None


def test_one_dense_kernel_stands_for_the_oversized_ones_of_parcnet_v2():
    """A column and then a row of 2 H - 1 taps, and 7 x 7 beside them, all without a bias of their own."""
    size, channels = 14, 6
    taps = 2 * size - 1
    x1, x2 = torch.randn(2, 1, channels, size, size, dtype=torch.float64).unbind(0)
    column, row, local = (torch.randn(channels, 1, *k, dtype=torch.float64) for k in ((taps, 1), (1, taps), (7, 7)))
    far = F.conv2d(x2, column, padding=(taps // 2, 0), groups=channels)
    far = F.conv2d(far, row, padding=(0, taps // 2), groups=channels)
    expected = x1 * (far + F.conv2d(x2, local, padding=3, groups=channels))
    kernel = (column * row + F.pad(local, ((taps - 7) // 2,) * 4)).squeeze(1)
    got = gated_conv(tokens(x1), tokens(x2), kernel, grid=(size, size)).output
    torch.testing.assert_close(got, tokens(expected), rtol=1e-11, atol=1e-11)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (4, 1), (7, 2), (250, 1), (100, 3), (97, 4)])
def test_a_lone_token_is_seen_where_the_kernel_reaches(kernel: int, dilation: int):
    """Also where an FFT convolves: nothing wraps around, and taps lie where those of torch's ``"same"`` do."""
    length, at = 41, 17
    context = F.one_hot(torch.tensor([at]), length).double().unsqueeze(-1)
    weight = torch.randn(1, kernel, dtype=torch.float64)
    expected = F.conv1d(context.mT, weight.unsqueeze(1), padding="same", dilation=dilation).mT
    ones = torch.ones_like(context)
    got = gated_conv(ones, context, weight, dilation=dilation).output
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    causal = gated_conv(ones, context, weight, dilation=dilation, causal=True).output[0, :, 0]
    seen = torch.zeros(length, dtype=torch.float64)
    for back in range(0, length - at, dilation):
        if back // dilation < kernel:
            seen[at + back] = weight[0, kernel - 1 - back // dilation]
    torch.testing.assert_close(causal, seen, rtol=1e-12, atol=1e-12)


def test_an_fft_spreads_nobody_elses_rounding():
    """A loud token far away: in single precision an FFT would leave its noise on the quiet ones."""
    context = torch.full((1, 4096, 1), 1e-3)
    context[0, 0] = 1e6
    weight = torch.rand(1, 301)
    got = gated_conv(torch.ones_like(context), context, weight).output[0, 1000:, 0]
    exact = gated_conv(torch.ones_like(context), context.double(), weight.double(), impl="reference").output[
        0, 1000:, 0
    ]
    torch.testing.assert_close(got, exact.float(), rtol=1e-5, atol=0.0)


def test_a_padded_image_is_the_image():
    """Rows and columns added at the bottom and on the right, filled with what is no number."""
    x, context = torch.randn(1, 35, 2, dtype=torch.float64), torch.randn(1, 35, 5, dtype=torch.float64)
    weight, mix = torch.randn(5, 3, 3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    expected = gated_conv(x, context, weight, mixes=[mix], grid=GRID).output
    larger = (GRID[0] + 2, GRID[1] + 3)

    def pad(t: torch.Tensor, value: float) -> torch.Tensor:
        return F.pad(t.unflatten(1, GRID), (0, 0, 0, 3, 0, 2), value=value).flatten(1, 2)

    mask = pad(torch.ones(1, 35, 1), 0.0)[..., 0].bool()
    got = gated_conv(pad(x, torch.nan), pad(context, torch.nan), weight, mixes=[mix], grid=larger, mask=mask).output
    torch.testing.assert_close(got.unflatten(1, larger)[:, : GRID[0], : GRID[1]].flatten(1, 2), expected)
    assert not got[~mask].any()


def test_token_by_token_and_with_others_in_between():
    """A causal convolution passes over masked tokens, wherever they stand."""
    x, context, weight = (torch.randn(*s, dtype=torch.float64) for s in ((1, 20, 3), (1, 20, 3), (3, 4)))
    options: dict[str, Any] = {"dilation": 2, "causal": True, "return_state": True}
    expected, last = gated_conv(x, context, weight, **options)
    state, steps = None, []
    for t in range(20):
        out, state = gated_conv(x[:, t : t + 1], context[:, t : t + 1], weight, initial_state=state, **options)
        steps.append(out)
    torch.testing.assert_close(torch.cat(steps, 1), expected)
    assert torch.equal(state, last)
    places = torch.arange(60).view(20, 3)[:, 1]
    spread = [torch.full((1, 60, 3), torch.nan, dtype=torch.float64).index_copy(1, places, t) for t in (x, context)]
    mask = torch.zeros(1, 60, dtype=torch.bool).index_fill(1, places, True)
    out, state = gated_conv(*spread, weight, mask=mask, **options)
    torch.testing.assert_close(out[:, places], expected)
    assert torch.equal(state, last)


X, CONTEXT, WEIGHT, MIX = torch.zeros(1, 6, 2), torch.zeros(1, 6, 5), torch.zeros(5, 3), torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mixes": []}, r"context has the wrong number of channels(.|\n)*C = 2, (.|\n)*\[1, 6, 5\]"),
        ({"mix_biases": [X[0, 0], X[0, 0]]}, "mix_biases must go with mixes(.|\n)*1(.|\n)*2"),
        ({"grid": (2, 2)}, r"the grid does not fit the tokens(.|\n)* 6 tokens(.|\n)*\(2, 2\)"),
        ({"grid": (-2, -3)}, r"the grid does not fit the tokens(.|\n)*\(height, width\)(.|\n)*\(-2, -3\)"),
        ({"grid": (2, 3)}, r"weight does not fit the grid(.|\n)*\[C, K1, K2\](.|\n)*\[5, 3\]"),
        ({"weight": torch.zeros(5, 0)}, r"weight does not fit the grid(.|\n)*\[5, 0\]"),
        ({"grid": (2, 3), "weight": torch.zeros(5, 3, 3), "causal": True}, "causal needs tokens on a line"),
        ({"return_state": True}, "only a causal convolution has a state"),
        ({"causal": True, "initial_state": torch.zeros(1, 3, 5)}, r"initial_state(.|\n)*\[1, 2, 5\](.|\n)*\[1, 3, 5\]"),
        ({"dilation": 0}, "dilation must be positive"),
        ({"activation": "sigmiod"}, "unknown activation 'sigmiod'(.|\n)*'sigmoid'"),
    ],
)
def test_what_does_not_fit_is_named(arguments: dict[str, Any], said: str):
    call = {"x": X, "context": CONTEXT, "weight": WEIGHT, "mixes": [MIX]} | arguments
    with pytest.raises(UserError, match=said):
        gated_conv(**call)


def test_gradients_of_gradients():
    x, context, weight = (
        torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((1, 4, 2), (1, 4, 2), (2, 3))
    )
    assert torch.autograd.gradgradcheck(lambda *t: gated_conv(*t, activation="silu").output, (x, context, weight))
