"""The options of `softmax_attention`, by hand and together. `test_contract.py` has what every op holds."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gated.core.ops import softmax_attention
from gated.core.ops.softmax_attention.forget import add_bias_, decay
from gated.errors import UserError

FORMS = ("reference", "chunk")
NO, YES = False, True


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def gates(batch: int, heads: int, length: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    gate = -0.3 * torch.rand(batch, heads, length, dtype=dtype)
    if length > 3:
        gate[:, :, length // 2] = -math.inf
        gate[:, 1, length // 3] = -80.0
        gate[0, 0] = 0.0
    return gate.requires_grad_()


def inputs(
    length: int, *, forget: str = "none", bias: bool = False, mask: str = "none", dtype: torch.dtype = torch.float64
) -> dict[str, Any]:
    batch = 1 if mask == "pack" else 2
    x: dict[str, Any] = {
        "q": draw(batch, 4, length, 6, dtype=dtype),
        "k": draw(batch, 2, length, 6, dtype=dtype),
        "v": draw(batch, 2, length, 5, dtype=dtype),
    }
    if forget == "one":
        x["log_forget"] = gates(batch, 4, length, dtype)
    if forget == "pair":
        x["log_forget"] = (gates(batch, 4, length, dtype), gates(batch, 4, length, dtype))
    if bias:
        x["bias_factors"] = (draw(1, 4, length, 3, dtype=dtype), draw(batch, 2, length, 3, dtype=dtype))
    if mask == "keys":
        x["key_mask"] = torch.rand(2, length) > 0.3
        x["key_mask"][1] = False  # nothing to look at anywhere
    if mask == "pack":
        x["cu_seqlens"] = torch.tensor([0, 0, length // 3, length // 2, length])
    return x


def leaves(x: dict[str, Any]) -> list[torch.Tensor]:
    flat = itertools.chain.from_iterable(t if isinstance(t, tuple) else (t,) for t in x.values())
    return [t for t in flat if t.requires_grad]


def value_and_gradients(x: dict[str, Any], **options: Any) -> list[torch.Tensor]:
    out = softmax_attention(**x, **options)
    tilt = torch.linspace(-1.0, 1.0, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out.square() + tilt * out).sum(), leaves(x))]


def agree(x: dict[str, Any], **options: Any) -> None:
    expected = value_and_gradients(x, **options, impl="reference")
    for got, right in zip(value_and_gradients(x, **options, impl="chunk"), expected, strict=True):
        assert torch.isfinite(right).all()
        torch.testing.assert_close(got, right, atol=1e-11, rtol=1e-10)


@pytest.mark.parametrize("mask", ["none", "keys", "pack"])
@pytest.mark.parametrize("window", [None, 6])
def test_options_combine(mask: str, window: int | None) -> None:
    for causal, forget, (clip, signed), bias in itertools.product(
        (NO, YES), ("none", "one", "pair"), ((None, NO), (2.0, NO), (None, YES)), (NO, YES)
    ):
        if not (causal and forget == "pair"):
            x = inputs(19, forget=forget, bias=bias, mask=mask)
            agree(x, causal=causal, clip=clip, signed=signed, window=window)


@pytest.mark.parametrize("options", [{"causal": True}, {"causal": False}, {"window": 40}], ids=str)
@pytest.mark.parametrize("mask", ["none", "pack"])
def test_more_than_one_block_of_queries(options: dict[str, Any], mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["gated.core.ops.softmax_attention.blocks"], "SCORES", 2**15)
    agree(inputs(1000 if options.get("causal") else 197, forget="one", mask=mask), **options)


@pytest.mark.parametrize("impl", FORMS)
def test_weights_by_hand(impl: str) -> None:
    """One loop over queries and keys that follows the papers' words instead of the code's tables."""
    length, window = 11, 4
    x = inputs(length)
    past, future = (gates(2, 4, length) for _ in range(2))
    out = softmax_attention(**x, log_forget=(past, future), window=window, clip=0.5, impl=impl)
    for b, h, i in itertools.product(range(2), range(4), range(length)):
        start = max(0, min(i - window // 2, length - window))
        scores = []
        for j in range(start, start + window):
            fade = past[b, h, j + 1 : i + 1].sum() if j <= i else future[b, h, i:j].sum()
            scores.append((x["q"][b, h, i] @ x["k"][b, h // 2, j]) * 6**-0.5 + fade)
        seen = sum(s > -math.inf for s in scores)
        weights = ((1 + 0.5 / seen) * torch.softmax(torch.stack(scores), 0) - 0.5 / seen).clamp(0, 1)
        torch.testing.assert_close(out[b, h, i], weights @ x["v"][b, h // 2, start : start + window])


@pytest.mark.parametrize("impl", FORMS)
def test_one_bidirectional_gate_is_a_distance(impl: str) -> None:
    x = inputs(23)
    gate = -torch.rand(2, 4, 23, dtype=torch.float64)
    c = gate.cumsum(-1)
    dense = torch.softmax(
        x["q"] @ x["k"].repeat_interleave(2, 1).mT * 6**-0.5 - (c[..., None] - c[..., None, :]).abs(), -1
    )
    expected = dense @ x["v"].repeat_interleave(2, 1)
    torch.testing.assert_close(softmax_attention(**x, log_forget=gate, impl=impl), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("impl", FORMS)
def test_a_pair_is_the_mirror_image(impl: str) -> None:
    x = inputs(23)
    past, future = (gates(2, 4, 23) for _ in range(2))
    out = softmax_attention(**x, log_forget=(past, future), impl=impl)
    mirrored = {n: t.flip(2) for n, t in x.items()}
    again = softmax_attention(**mirrored, log_forget=(future.flip(2), past.flip(2)), impl=impl).flip(2)
    torch.testing.assert_close(out, again, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("impl", FORMS)
def test_a_gate_of_zero_starts_anew(impl: str) -> None:
    x = inputs(20)
    gate = -torch.rand(2, 4, 20, dtype=torch.float64)
    gate[:, :, 8] = -math.inf
    whole = softmax_attention(**x, log_forget=gate, causal=True, impl=impl)
    tail = softmax_attention(
        **{n: t[:, :, 8:] for n, t in x.items()}, log_forget=gate[:, :, 8:], causal=True, impl=impl
    )
    torch.testing.assert_close(whole[:, :, 8:], tail, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("impl", FORMS)
def test_clip_closes_a_head_whatever_the_padding(impl: str) -> None:
    x = inputs(8)
    x["q"] = torch.zeros_like(x["q"])  # even weights 1/n: (1 + a/n)/n - a/n < 0 for a = 2 and n > 2
    assert softmax_attention(**x, clip=2.0, impl=impl).abs().max() == 0
    mask = torch.arange(8).expand(2, -1) < 5
    short = {n: t[:, :, :5] for n, t in inputs(8).items()}
    long = {n: torch.nn.functional.pad(t, (0, 0, 0, 3), value=9.0) for n, t in short.items()}
    torch.testing.assert_close(
        softmax_attention(**long, clip=0.4, key_mask=mask, impl=impl)[:, :, :5],
        softmax_attention(**short, clip=0.4, impl=impl),
    )


@pytest.mark.parametrize("impl", FORMS)
def test_signed_weights(impl: str) -> None:
    x = inputs(9)
    p = x["q"] @ x["k"].repeat_interleave(2, 1).mT * 6**-0.5
    expected = (p.sign() * torch.softmax(p.abs(), -1)) @ x["v"].repeat_interleave(2, 1)
    torch.testing.assert_close(softmax_attention(**x, signed=True, impl=impl), expected, atol=1e-12, rtol=1e-12)


def test_autocast_keeps_scores_and_sums_in_single_precision() -> None:
    x = {n: t.detach().float() for n, t in inputs(600, forget="one").items()}
    exact = value_and_gradients({n: t.requires_grad_() for n, t in x.items()}, causal=True)
    with torch.autocast("cpu", torch.bfloat16):
        for got, right in zip(value_and_gradients(x, causal=True), exact, strict=True):
            torch.testing.assert_close(got, right)


def test_low_precision_gates_and_scores_are_summed_in_single_precision() -> None:
    x = {n: t.detach().bfloat16() for n, t in inputs(600, forget="one").items()}
    exact = softmax_attention(**{n: t.double() for n, t in x.items()}, causal=True, impl="reference")
    out = softmax_attention(**x, causal=True, impl="chunk")
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), exact, atol=8e-3, rtol=8e-3)


def test_the_bias_is_exact_at_length_131072() -> None:
    length = 131072
    generator = torch.Generator().manual_seed(0)
    gate = -0.02 * torch.rand(1, 1, length, generator=generator)
    v = torch.randn(1, 1, length, 1, generator=generator)
    block = slice(length - 100, length)
    bias = torch.zeros(1, 1, 100, length)
    add_bias_(bias, decay(gate), block.start, block.stop, 0)
    exact = (c := gate.double().cumsum(-1))[..., block, None] - c[..., None, :]
    near = (exact > -100.0) & (torch.arange(length) <= torch.arange(length)[block, None])
    assert near.sum() > 100 * 5000
    assert (bias.double() - exact)[near].abs().max() <= 1e-5
    zero = torch.zeros_like(v[:, :, :4096])
    out = softmax_attention(zero, zero, v[:, :, -4096:], log_forget=gate[:, :, -4096:], causal=True)
    weights = torch.softmax(exact[..., -4096:].masked_fill(~near[..., -4096:], -math.inf), -1)
    torch.testing.assert_close(out[:, :, -100:].double(), weights @ v[:, :, -4096:].double(), atol=1e-6, rtol=1e-5)


def test_memory_is_linear_in_the_length() -> None:
    """No tensor of a forward and backward pass is as large as a quarter of the matrix."""

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for t in out if isinstance(out, tuple | list) else (out,):
                if isinstance(t, torch.Tensor):
                    self.size = max(self.size, t.untyped_storage().nbytes())
            return out

    length = 4096
    x = {n: draw(1, 1, length, 4, dtype=torch.float32) for n in "qkv"}
    x["log_forget"] = gates(1, 2, length, torch.float32)[:, :1]
    with Largest() as seen:
        value_and_gradients(x, causal=True)
    assert seen.size < length**2 * 4 / 4


def test_backward_can_be_differentiated() -> None:
    x = {n: t.detach()[:1, :2, :3, :2].requires_grad_() for n, t in inputs(5).items()}
    mask, gate = torch.tensor([[True, False, True]]), (-torch.rand(1, 2, 3, dtype=torch.float64) - 0.1).requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda q, k, v, gate: softmax_attention(q, k, v, log_forget=gate, key_mask=mask),
        (x["q"], x["k"], x["v"], gate),
    )


def test_head_weight() -> None:
    x, weight = inputs(33), draw(2, 4, 33)
    plain = softmax_attention(**x)
    torch.testing.assert_close(softmax_attention(**x, head_weight=weight), plain * weight[..., None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"log_forget": torch.zeros(2, 2, 7)}, r"log_forget(.|\n)*\[B, H, T\](.|\n)*\[2, 2, 7\]"),
        ({"log_forget": torch.full((2, 4, 7), 0.25)}, r"log_forget(.|\n)*<= 0(.|\n)*0.25"),
        ({"log_forget": (torch.zeros(2, 4, 7),) * 2, "causal": True}, "a pair of log_forget"),
        ({"head_weight": torch.zeros(2, 4, 7, 1)}, r"head_weight(.|\n)*\[B, H, T\]"),
        ({"clip": 1.0, "signed": True}, "clip and signed exclude each other"),
        ({"clip": -1.0}, "alpha >= 0"),
        ({"window": 0}, "window >= 1"),
        ({"bias_factors": (torch.zeros(2, 4, 7, 3), torch.zeros(2, 2, 7, 2))}, r"bias_factors\[1\](.|\n)*R=3"),
        ({"cu_seqlens": torch.tensor([0, 7])}, "B=1"),
    ],
    ids=str,
)
def test_errors_name_the_argument_what_was_expected_and_what_came(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        softmax_attention(**inputs(7), **options)


def test_errors_of_packs_and_heads() -> None:
    x = inputs(7, mask="pack")
    for starts in ([0, 3], [0, 5, 4, 7], [1, 7]):
        with pytest.raises(UserError, match="rising from 0 to T=7"):
            softmax_attention(**{**x, "cu_seqlens": torch.tensor(starts)})
    with pytest.raises(UserError, match="key_mask and cu_seqlens exclude each other"):
        softmax_attention(**x, key_mask=torch.ones(1, 7, dtype=torch.bool))
    y = inputs(7)
    with pytest.raises(UserError, match=r"H % HK == 0 with HK=2(.|\n)*H=3"):
        softmax_attention(y["q"][:, :3], y["k"], y["v"])
    with pytest.raises(UserError, match="window needs as many keys as queries"):
        softmax_attention(y["q"], y["k"][:, :, :5], y["v"][:, :, :5], window=3)


@pytest.mark.parametrize("causal", [True, False])
def test_keys_that_have_faded_are_not_visited(causal: bool) -> None:
    """Values out of reach may be anything, and what is in reach counts as if nothing had been left out."""
    length, far = 900, 300
    x = {n: draw(1, 2, length, 4) for n in "qkv"}
    gate = torch.full((1, 2, length), -1.0, dtype=torch.float64, requires_grad=True)
    expected = softmax_attention(**x, log_forget=gate, causal=causal, impl="reference")
    v = x["v"].detach().clone()
    v[:, :, :far] = math.nan
    got = softmax_attention(x["q"], x["k"], v, log_forget=gate, causal=causal, impl="chunk")
    torch.testing.assert_close(got[:, :, 700:], expected[:, :, 700:], rtol=0, atol=1e-14)
    assert got[:, :, :far].isnan().all()


def test_a_head_that_does_not_forget_keeps_all_keys_in_reach() -> None:
    x = {n: draw(1, 2, 900, 4) for n in "qkv"}
    gate = torch.stack((torch.full((900,), -1.0), torch.full((900,), -1e-4))).double()[None].requires_grad_()
    results = []
    for form in FORMS:
        out = softmax_attention(**x, log_forget=gate, causal=True, impl=form)
        results.append([out, *torch.autograd.grad(out.square().sum(), [*x.values(), gate])])
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_a_gate_that_nobody_checked_and_is_no_number_spoils_what_follows_it_alone(form: str) -> None:
    x = {n: draw(1, 1, 700, 4).detach() for n in "qkv"}
    gate = torch.full((1, 1, 700), -1.0, dtype=torch.float64)
    gate[..., 300] = math.nan
    out = softmax_attention(**x, log_forget=gate, causal=True, check=False, impl=form)
    assert out[:, :, :300].isfinite().all()
    assert out[:, :, 300:].isnan().all()
