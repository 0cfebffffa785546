"""The kernels of `softmax_attention`: every option inside them is what the definition says, tile by tile."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch

from gated.core.ops import softmax_attention
from gated.core.ops.softmax_attention.launches import mix
from gated.core.testing import Named, assert_same, assert_within_budget, with_gradients
from gated.errors import UserError

pytestmark = pytest.mark.usefixtures("on_device")

LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 130)

CASES: list[dict[str, Any]] = [
    {},
    {"causal": True, "forget": "one"},
    {"forget": "one"},
    {"forget": "pair", "mask": "keys"},
    {"clip": 0.7, "causal": True, "mask": "keys"},
    {"clip": 0.7, "forget": "pair", "window": 20},
    {"signed": True, "mask": "keys"},
    {"signed": True, "causal": True, "forget": "one", "bias": True},
    {"window": 9, "mask": "keys", "forget": "pair"},
    {"window": 7, "causal": True, "clip": 1.0},
    {"mask": "pack", "causal": True, "forget": "one"},
    {"mask": "pack", "window": 5, "bias": True},
]


def gates(batch: int, heads: int, length: int) -> torch.Tensor:
    gate = -0.3 * torch.rand(batch, heads, length, dtype=torch.float64)
    if length > 3:
        gate[:, :, length // 2] = -math.inf
        gate[:, 1, length // 3] = -80.0
        gate[0, 0] = 0.0
    return gate


def inputs(length: int, case: Mapping[str, Any]) -> tuple[Named, dict[str, Any]]:
    """Two query heads on one key head, and the options that are not tensors."""
    options, mask = dict(case), case.get("mask")
    batch = 2 if mask == "keys" else 1
    shapes = {"q": (2, length, 6), "k": (1, length, 6), "v": (1, length, 5)}
    if options.pop("bias", False):
        shapes |= {"bias_factors.0": (2, length, 3), "bias_factors.1": (1, length, 3)}
    x = {n: torch.randn(batch, *shape, dtype=torch.float64) for n, shape in shapes.items()}
    forget = options.pop("forget", None)
    for name in {"one": ["log_forget"], "pair": ["log_forget.0", "log_forget.1"]}.get(forget, []):
        x[name] = gates(batch, 2, length)
    if options.pop("mask", None) == "keys":
        x["key_mask"] = torch.rand(2, length) > 0.3
        x["key_mask"][1] = False  # nothing to look at anywhere
    elif mask == "pack":
        x["cu_seqlens"] = torch.tensor([0, 0, length // 3, length // 2, length])
    return x, options


def results(x: Named, impl: str, **options: Any) -> Named:
    def run(**flat: torch.Tensor) -> torch.Tensor:
        given: dict[str, Any] = {}
        for name, tensor in flat.items():
            argument, *part = name.split(".")
            given[argument] = (*given.get(argument, ()), tensor) if part else tensor
        return softmax_attention(**given, **options, impl=impl, check=False)

    return with_gradients(run, x)


def cast(x: Named, dtype: torch.dtype) -> Named:
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in x.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_are_the_reference_with_every_gradient(case: dict[str, Any]) -> None:
    x, options = inputs(40, case)
    assert_same(results(x, "triton", **options), results(x, "reference", **options))


@pytest.mark.parametrize("length", LENGTHS)
def test_at_the_borders_of_tiles(length: int) -> None:
    x, options = inputs(length, {"causal": True, "forget": "one"})
    assert_same(results(x, "triton", **options), results(x, "reference", **options))


@pytest.mark.parametrize("options", [{}, {"signed": True}, {"clip": 0.5}], ids=str)
def test_keys_of_another_number_than_queries(options: dict[str, Any]) -> None:
    """Wide heads of unlike widths, none a power of two; also no key at all, no item and no head."""
    for batch, heads, queries, keys, d, e in (
        (2, 3, 37, 5, 20, 3), (1, 1, 3, 70, 3, 70), (1, 1, 5, 0, 4, 4), (0, 2, 5, 5, 4, 4), (1, 0, 5, 5, 4, 4),
    ):  # fmt: skip
        shapes = {"q": (heads, queries, d), "k": (heads, keys, d), "v": (heads, keys, e)}
        x = {n: torch.randn(batch, *shape, dtype=torch.float64) for n, shape in shapes.items()}
        assert_same(results(x, "triton", **options), results(x, "reference", **options))


@pytest.mark.parametrize("case", [CASES[1], CASES[5], CASES[7]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("tensor_cores")
def test_errors_are_those_of_the_reference_in_low_precision(dtype: torch.dtype, case: dict[str, Any]) -> None:
    x, options = inputs(40, case)
    low = cast(x, dtype)
    exact = results(cast(low, torch.float64), "reference", **options)
    got = results(low, "triton", **options)
    assert got["output 0"].dtype == dtype
    assert_within_budget(got, results(low, "reference", **options), exact)


def test_the_bias_keeps_its_digits_at_length_131072() -> None:
    """The potentials of such a length, put in front of a few tokens: their difference must not feel their size."""
    length = 131072
    gate = -0.02 * torch.rand(1, 1, length, dtype=torch.float64)
    sums = gate.cumsum(-1)[..., -100:]
    v = torch.eye(100).view(1, 1, 100, 100)
    zero, none = torch.zeros(1, 1, 100, 4), torch.zeros(1, 1, 100, dtype=torch.int32)
    end = torch.arange(1, 101, dtype=torch.int32)[None]
    weights, peak, share, _ = mix(zero, zero, v, sums, None, none, None, None, None, end, 1.0, None, False)
    bias = sums[..., :, None] - sums[..., None, :]
    seen = torch.ones(100, 100).tril().bool()
    assert sums.abs().max() > 1000
    assert ((weights.log() + (peak - share.log())[..., None]).double() - bias)[..., seen].abs().max() <= 1e-5


def test_tiles_that_nobody_sees_are_not_read() -> None:
    """A value that is not a number would spoil every tile that it takes part in, whatever its weight."""
    length = 200
    x = {n: torch.randn(1, 1, length, 4) for n in "qkv"}
    spoilt = {n: t.clone() for n, t in x.items()}
    spoilt["v"][:, :, 128:] = math.nan
    for options in ({"causal": True}, {"window": 8}, {"cu_seqlens": torch.tensor([0, 96, 200])}):
        clean, got = (softmax_attention(**y, **options, impl="triton") for y in (x, spoilt))
        assert torch.equal(clean[:, :, :64], got[:, :, :64])


def test_layout_of_memory_does_not_matter() -> None:
    x, options = inputs(20, CASES[7])
    strided = {n: t.transpose(1, 2).contiguous().transpose(1, 2) for n, t in x.items()}
    assert_same(results(strided, "triton", **options), results(x, "triton", **options), 0.0)


def test_gradcheck() -> None:
    gate = -torch.rand(1, 2, 4, dtype=torch.float64) - 0.1
    x = [torch.randn(1, h, 4, 3, dtype=torch.float64) for h in (2, 1, 1)]
    leaves = [t.requires_grad_() for t in (*x, gate)]
    for options in ({"clip": 0.1, "window": 3}, {"signed": True, "causal": True}):
        run = partial(softmax_attention, impl="triton", check=False, **options)
        assert torch.autograd.gradcheck(
            lambda q, k, v, gate, run=run: run(q, k, v, log_forget=gate), leaves, fast_mode=True
        )


# torch 2.14's own opcheck looks at .grad of a tensor that is no leaf
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_opcheck() -> None:
    q, k, v = (torch.randn(2, h, 5, 4, requires_grad=True) for h in (2, 1, 1))
    past = -torch.rand(2, 2, 5, dtype=torch.float64).cumsum(-1)
    resets, mask = torch.zeros(2, 2, 5, dtype=torch.int64), torch.rand(2, 5) > 0.3
    end = torch.arange(1, 6)[None]
    torch.library.opcheck(mix, (q, k, v, past.requires_grad_(), None, resets, None, mask, None, end, 0.5, 0.3, False))


@pytest.mark.parametrize("options", [{"causal": True}, {"window": 5, "clip": 1.0}], ids=str)
def test_compile(options: dict[str, Any]) -> None:
    def run(q: torch.Tensor, kv: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        return softmax_attention(q, kv, kv, log_forget=gate, output_gate=q, impl="triton", **options)

    x = {"q": torch.randn(1, 2, 20, 4), "kv": torch.randn(1, 1, 20, 4), "gate": -torch.rand(1, 2, 20)}
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert_same(with_gradients(compiled, x), with_gradients(run, x), 1e-6)


def test_weights_are_dropped_by_chunk_alone() -> None:
    q = torch.randn(1, 1, 4, 4)
    with pytest.raises(UserError, match=r"drops no attention weights(.|\n)*dropout=0\.1(.|\n)*impl='chunk'"):
        softmax_attention(q, q, q, dropout=0.1, impl="triton")


def test_auto_leaves_plain_attention_and_dropout_to_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    picked = []

    class Op:
        name = "softmax_attention"

        def pick(self, impl: str, device: torch.device) -> Any:
            picked.append(impl)
            return lambda q, k, v, **_: v

    monkeypatch.setattr(sys.modules["gated.core.ops.softmax_attention.api"], "OP", Op())
    q, gate = torch.randn(1, 1, 4, 4), torch.zeros(1, 1, 4)
    cases: list[dict[str, Any]] = [{}, {"causal": True}, {"output_gate": q}, {"log_forget": gate, "dropout": 0.1}]
    for options in cases:
        softmax_attention(q, q, q, **options)
    assert picked == ["chunk"] * 4
    softmax_attention(q, q, q, log_forget=gate)
    softmax_attention(q, q, q, impl="triton")
    assert picked[4:] == ["auto", "triton"]
