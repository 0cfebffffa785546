"""Wrong numbers and crashes that the contract had not seen: each was found by a reader who tried to break an op."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gated.core import mixers
from gated.core.ops import (
    delta_recurrence,
    gated_conv,
    gpsa,
    linear_recurrence,
    local_global,
    scan,
    softmax_attention,
)
from gated.core.ops._products import columns_by_columns, rows_by_rows
from gated.core.testing import assert_same, with_gradients
from gated.errors import UserError

from .cases import CASES, Case
from .test_contract import result


def randn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype)


@pytest.mark.parametrize("product", [rows_by_rows, columns_by_columns])
def test_one_tensor_as_both_factors_keeps_its_gradient_when_compiled(product):
    """torch.compile (2.11) loses one of the two."""
    torch._dynamo.reset()
    x = randn(2, 5, 5).requires_grad_()
    loss = lambda x: product(x, x).sin().sum()  # noqa: E731
    (expected,) = torch.autograd.grad(loss(x), x)
    (got,) = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(x), x)
    torch.testing.assert_close(got, expected)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if not case.packed], ids=str)
def test_every_case_has_the_same_gradients_when_compiled(case: Case):
    torch._dynamo.reset()
    x = case.make(37)
    compiled = torch.compile(lambda **t: case(t, "chunk"), fullgraph=True, backend="aot_eager")
    assert_same(with_gradients(compiled, x), result(case, x, "chunk"))


@pytest.mark.parametrize("name", ["none", "head"])
def test_the_delta_rule_trains_the_same_when_compiled(name: str):
    torch._dynamo.reset()
    case = next(case for case in CASES if case.op == "delta_recurrence" and case.name == name)
    x = case.make(19)
    compiled = torch.compile(lambda **t: case(t, "chunk"), fullgraph=True, backend="aot_eager")
    assert_same(with_gradients(compiled, x), result(case, x, "chunk"))


def test_kernels_of_the_delta_rule_take_keys_of_any_width():
    """Channels beyond 256 were left out."""
    q, k, v, beta = (
        randn(1, 1, 5, 300),
        F.normalize(randn(1, 1, 5, 300), dim=-1),
        randn(1, 1, 5, 3),
        torch.rand(1, 1, 5),
    )
    options = {"return_state": True}
    expected = delta_recurrence(q, k, v, beta.double(), impl="reference", **options)
    got = delta_recurrence(q, k, v, beta.double(), impl="triton", **options)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("scale", [-0.5, 0.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_scale_that_is_not_positive(scale: float, dtype: torch.dtype):
    """torch's kernel multiplies its mask of -inf by the scale."""
    q = randn(1, 1, 40, 4, dtype=dtype)
    got = softmax_attention(q, q, q, causal=True, scale=scale)
    expected = softmax_attention(q.double(), q.double(), q.double(), causal=True, scale=scale, impl="reference")
    torch.testing.assert_close(got.double(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("causal", [False, True])
def test_a_global_sum_in_half_precision_does_not_overflow(causal: bool):
    y = torch.full((1, 1, 5000, 4), 4.0, dtype=torch.float16)
    got = local_global(y, y, y, y, (y,), causal=causal)[0]
    expected = local_global(*(y.double(),) * 4, (y.double(),), causal=causal, impl="reference")[0]
    torch.testing.assert_close(got.double(), expected, rtol=5e-3, atol=0.0)


def test_more_tokens_than_half_precision_can_count():
    z = randn(1, 1, 70_000, 4, dtype=torch.float16)
    mask = torch.ones(1, 70_000, dtype=torch.bool)
    assert local_global(z * 0, z * 0, z, z, (z,), mask=mask)[0].isfinite().all()


@pytest.mark.parametrize("dropout", [-0.5, 1.5, math.nan])
def test_a_dropout_that_is_no_probability_is_named(dropout: float):
    x = randn(1, 1, 5, 4)
    with pytest.raises(UserError, match="dropout is no probability"):
        softmax_attention(x, x, x, dropout=dropout)
    with pytest.raises(UserError, match="dropout is no probability"):
        local_global(x, x, x, x, (x,), dropout=dropout)


@pytest.mark.parametrize(
    "call",
    [
        lambda i: linear_recurrence(i, i, i),
        lambda i: delta_recurrence(i, i, i, torch.rand(1, 2, 5)),
        lambda i: softmax_attention(i, i, i),
        lambda i: gpsa(i, i, i, torch.zeros(2, 3), torch.zeros(2), grid=(1, 5)),
        lambda i: local_global(i, i, i, i, (i,)),
        lambda i: gated_conv(i[0], i[0], torch.ones(4, 3)),
    ],
)
def test_whole_numbers_are_refused_and_not_cut_off(call):
    with pytest.raises(UserError, match=r"has the wrong dtype(.|\n)*floating-point(.|\n)*int64"):
        call(torch.ones(1, 2, 5, 4, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bound", [-0.1, -0.3, -5.0])
def test_a_gate_made_as_the_error_advises_keeps_its_bound(bound: float, dtype: torch.dtype):
    x = randn(1, 1, 5, 4, dtype=dtype)
    linear_recurrence(x, x, x, bound * torch.sigmoid(x * 0 + 30), decay_bound=bound)


def test_gates_that_are_no_number_are_refused():
    x, gate = randn(1, 1, 5, 4), torch.full((1, 1, 5, 4), math.nan, dtype=torch.float64)
    for call in (lambda: linear_recurrence(x, x, x, gate), lambda: scan(x, gate)):
        with pytest.raises(UserError, match=r"<= 0(.|\n)*nan"):
            call()


def test_padding_of_mossformer_may_hold_anything():
    mixer, x = mixers.MossFormerAttention(16).eval(), torch.randn(1, 20, 16)
    mask = torch.arange(20)[None] < 15
    got = mixer(x.masked_fill(~mask[..., None], math.nan), mask=mask)
    torch.testing.assert_close(got, mixer(x.masked_fill(~mask[..., None], 0.0), mask=mask))


@pytest.mark.parametrize("name", ["GatedAttentionUnit", "MossFormerAttention"])
def test_an_odd_width_of_queries(name: str):
    assert getattr(mixers, name)(8, qk_dim=5)(torch.randn(1, 4, 8)).shape == (1, 4, 8)


# torch's own decompositions of tangents
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("constant", [False, True])
def test_a_scan_has_tangents(constant: bool):
    """torch took those of a registered operation for zero, without a word."""
    x = randn(1, 2, 10, 4)
    gate = -torch.rand(2, 4, dtype=torch.float64) if constant else -torch.rand(1, 2, 10, 4, dtype=torch.float64)
    found = [
        torch.func.jvp(lambda x, impl=impl: scan(x, gate, impl=impl).output, (x,), (x,))[1]
        for impl in ("reference", "chunk")
    ]
    assert found[0].abs().max() > 0
    torch.testing.assert_close(*found)


def test_nothing_at_all_is_no_error():
    empty = torch.zeros(0, 1, 5, 4)
    assert softmax_attention(empty, empty, empty, window=3, key_mask=torch.ones(0, 5, dtype=torch.bool)).shape[0] == 0
    assert gated_conv(empty[:, 0], empty[:, 0], torch.randn(4, 200)).output.shape == (0, 5, 4)
    narrow = torch.zeros(1, 1, 5, 0)
    assert softmax_attention(narrow, narrow, torch.ones(1, 1, 5, 2)).shape == (1, 1, 5, 2)
    assert linear_recurrence(narrow, narrow, torch.ones(1, 1, 5, 2)).output.shape == (1, 1, 5, 2)


def test_unlike_dtypes_are_named():
    x, half = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 6, 4).half()
    with pytest.raises(UserError, match=r"v has another dtype than q(.|\n)*float32(.|\n)*float16"):
        softmax_attention(x, x, half)
    with pytest.raises(UserError, match="k has another dtype than q"):
        gpsa(x, half, x, torch.randn(2, 3), torch.zeros(2), grid=(2, 3))
    with pytest.raises(UserError, match="k_global has another dtype than q_global"):
        local_global(x, x, x, half, (x,))
    with torch.autocast("cpu", torch.bfloat16):  # which makes them alike
        softmax_attention(x, x, x.bfloat16())


def test_what_is_no_pair_and_no_stream_is_named():
    x, gate = torch.randn(1, 2, 6, 4), -torch.rand(1, 2, 6)
    with pytest.raises(UserError, match=r"log_forget is no pair(.|\n)*3 of them"):
        softmax_attention(x, x, x, log_forget=(gate,) * 3)
    with pytest.raises(UserError, match=r"log_forget is no tensor(.|\n)*list"):
        softmax_attention(x, x, x, log_forget=[gate, gate])
    with pytest.raises(UserError, match=r"bias_factors is no pair(.|\n)*Tensor"):
        softmax_attention(x, x, x, bias_factors=x)
    for values in ((), x):
        with pytest.raises(UserError, match="values must hold a stream"):
            local_global(x, x, x, x, values)
