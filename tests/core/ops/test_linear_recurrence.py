"""The contract of `linear_recurrence`: every form is the reference, and the reference is the dense sum over pairs."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gated.core.ops import linear_recurrence
from gated.core.testing import assert_same, assert_within_budget, with_gradients
from gated.errors import UserError

LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 197, 1000)
DECAYS = ("none", "constant", "head", "channel")
IMPLS = ("reference", "chunk")


def inputs(
    length, decay, *, dtype=torch.float64, batch=2, heads=2, groups=1, width=4, value_width=3, strength=1.0, seed=0
):
    rng = torch.Generator().manual_seed(seed)
    shapes = {
        "none": None,
        "constant": (heads,),
        "head": (batch, heads, length),
        "channel": (batch, heads, length, width),
    }
    made = {name: torch.randn(batch, heads, length, width, generator=rng, dtype=dtype) for name in ("q", "k")}
    made["v"] = torch.randn(batch, groups * heads, length, value_width, generator=rng, dtype=dtype)
    shape = shapes[decay]
    made["log_decay"] = None if shape is None else -strength * torch.rand(shape, generator=rng, dtype=dtype)
    return made


def state_for(x, seed=1):
    rng = torch.Generator().manual_seed(seed)
    batch, heads, _, width = x["v"].shape
    return torch.randn(batch, heads, x["q"].shape[-1], width, generator=rng, dtype=torch.float64)


def dense(x, direction, mask=None):
    """``o_i = scale sum_j (q_i e^{-|c_i - c_j|} . k_j) v_j`` with every pair written out."""
    q, k, v, g = (x[name] for name in ("q", "k", "v", "log_decay"))
    length, width = q.shape[2:]
    g = torch.zeros_like(q) if g is None else g[None, :, None, None].expand_as(q) if g.dim() == 1 else g
    g = g.unsqueeze(-1).expand_as(q) if g.dim() == 3 else g
    real = torch.ones(q.shape[0], length, dtype=torch.bool) if mask is None else mask
    real = real[:, None, :, None]
    c = (g * real).cumsum(2)
    pairs = torch.exp(-(c.unsqueeze(3) - c.unsqueeze(2)).abs())
    scores = width**-0.5 * torch.einsum("bhic,bhijc,bhjc->bhij", q, pairs, k) * (real & real.mT)
    scores = {"forward": scores.tril(), "reverse": scores.triu(), "both": scores}[direction]
    return scores.repeat_interleave(v.shape[1] // q.shape[1], 1) @ v


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "both"])
def test_every_direction_is_a_half_of_the_dense_sum(impl, decay, direction):
    x = inputs(70, decay, groups=2)
    mask = torch.rand(2, 70) > 0.3
    for m in (None, mask):
        out = linear_recurrence(**x, direction=direction, mask=m, impl=impl).output
        torch.testing.assert_close(out, dense(x, direction, m), rtol=1e-11, atol=1e-11)
    assert not out.transpose(1, 2)[~mask].any()  # masked tokens get zeros


@pytest.mark.parametrize("decay", [*DECAYS, "bounded"])
@pytest.mark.parametrize("length", LENGTHS)
def test_chunk_is_the_reference_with_every_gradient(length, decay):
    bound = -1.0 if decay == "bounded" else None
    x = inputs(length, "channel" if bound else decay)
    x["initial_state"] = state_for(x)
    direction = "reverse" if length in (16, 65) else "forward"
    results = [
        with_gradients(
            lambda impl=impl, **t: linear_recurrence(
                **t, decay_bound=bound, direction=direction, return_state=True, impl=impl
            ),
            x,
        )
        for impl in IMPLS
    ]
    assert_same(results[1], results[0])


GATES = {
    "zero": lambda u: 0 * u,
    "mild": lambda u: -0.1 * u,
    "strong": lambda u: -5 * u,
    "-80": lambda u: torch.full_like(u, -80.0),
    "-80 or weak": lambda u: torch.where(u < 0.2, -80.0, -0.01 * u),
    "-inf": lambda u: torch.full_like(u, -torch.inf),
    "-inf or weak": lambda u: torch.where(u < 0.1, -torch.inf, -0.01 * u),
}


@pytest.mark.parametrize(
    ("gate", "decay"),
    [(g, d) for g in GATES for d in ("head", "channel")] + [(g, "bounded") for g in ("zero", "mild", "strong")],
)
def test_gates_at_their_extremes_keep_to_the_error_budget(gate, decay):
    bound = -5.0 if decay == "bounded" else None
    x = inputs(197, "head" if decay == "head" else "channel", dtype=torch.float32, width=16, value_width=16)
    x["log_decay"] = GATES[gate](-x["log_decay"])
    x["initial_state"] = state_for(x).float()

    def result(impl, dtype):
        return with_gradients(
            lambda **t: linear_recurrence(**t, decay_bound=bound, return_state=True, impl=impl),
            {name: t.to(dtype) for name, t in x.items()},
        )

    exact = result("reference", torch.float64)
    assert_same(result("chunk", torch.float64), exact)
    chunk = result("chunk", torch.float32)
    assert all(t.isfinite().all() for t in chunk.values())
    assert_within_budget(chunk, result("reference", torch.float32), exact)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_state_carries_over_every_split(impl, decay, direction):
    x = inputs(20, decay)
    whole = linear_recurrence(**x, direction=direction, return_state=True, impl=impl)
    for split in range(21):
        parts = [
            {n: t if t is None or t.dim() < 3 else t[:, :, part] for n, t in x.items()}
            for part in (slice(None, split), slice(split, None))
        ]
        order = (0, 1) if direction == "forward" else (1, 0)
        state, outputs = None, [None, None]
        for i in order:
            outputs[i], state = linear_recurrence(
                **parts[i], direction=direction, initial_state=state, return_state=True, impl=impl
            )
        torch.testing.assert_close(torch.cat(outputs, 2), whole.output, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state, whole.state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("decay", ["none", "head", "channel"])
def test_the_future_changes_nothing(impl, decay):
    x = inputs(100, decay)
    changed = {n: t if t is None else t.clone() for n, t in x.items()}
    for t in changed.values():
        if t is not None:
            t[:, :, 60:] -= 1.0
    before, after = (linear_recurrence(**t, impl=impl).output for t in (x, changed))
    assert torch.equal(before[:, :, :60], after[:, :, :60])
    assert not torch.equal(before[:, :, 60:], after[:, :, 60:])


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "both"])
@pytest.mark.parametrize("decay", DECAYS)
def test_packed_and_padded_sequences_are_the_sequences_alone(impl, direction, decay):
    lengths = (5, 0, 1, 70, 16)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    row = inputs(sum(lengths), decay, batch=1, groups=2)
    start = None if direction == "both" else state_for({**row, "v": row["v"].expand(5, -1, -1, -1)})
    options = {"direction": direction, "return_state": direction != "both", "impl": impl}
    packed = linear_recurrence(**row, cu_seqlens=offsets, initial_state=start, **options)
    for i, (begin, end) in enumerate(itertools.pairwise(offsets.tolist())):
        alone = {n: t if t is None or t.dim() < 3 else t[:, :, begin:end] for n, t in row.items()}
        expected = linear_recurrence(**alone, initial_state=None if start is None else start[i : i + 1], **options)
        torch.testing.assert_close(packed.output[:, :, begin:end], expected.output, rtol=1e-11, atol=1e-11)
        if start is not None:
            torch.testing.assert_close(packed.state[i : i + 1], expected.state, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("impl", IMPLS)
def test_poison_behind_the_mask_reaches_neither_values_nor_gradients(impl):
    x = inputs(40, "channel")
    mask = torch.arange(40).expand(2, -1) < torch.tensor([[40], [25]])
    for t in x.values():
        t[1, :, 25:] = torch.nan
    found = with_gradients(lambda **t: linear_recurrence(**t, mask=mask, return_state=True, check=False, impl=impl), x)
    assert all(t.isfinite().all() for t in found.values())


def test_items_of_a_batch_and_strides_do_not_matter():
    x = inputs(100, "channel", batch=3)
    expected = linear_recurrence(**x).output
    torch.testing.assert_close(
        linear_recurrence(**{n: t[1:2] for n, t in x.items()}).output, expected[1:2], rtol=1e-12, atol=1e-12
    )
    strided = {n: t.transpose(1, -1).contiguous().transpose(1, -1) for n, t in x.items()}
    assert not strided["q"].is_contiguous()
    torch.testing.assert_close(linear_recurrence(**strided).output, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("decay", [*DECAYS[1:], "bounded"])
def test_gradcheck(impl, decay):
    x = inputs(6, "channel" if decay == "bounded" else decay, batch=1, heads=1, groups=2, width=2, value_width=2)
    if decay == "constant":
        x["log_decay"] = x["log_decay"] - 0.1
    tensors = [t.requires_grad_() for t in (*x.values(), state_for(x))]
    bound = -1.1 if decay == "bounded" else None
    assert torch.autograd.gradcheck(
        lambda q, k, v, g, s: tuple(
            linear_recurrence(q, k, v, g, initial_state=s, return_state=True, decay_bound=bound, impl=impl)
        ),
        tensors,
    )


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    length=st.integers(0, 150),
    decay=st.sampled_from(DECAYS),
    heads=st.integers(1, 3),
    groups=st.integers(1, 2),
    widths=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    direction=st.sampled_from(["forward", "reverse", "both"]),
    strength=st.floats(0, 100),
    bounded=st.booleans(),
    seed=st.integers(0, 99),
)
def test_forms_agree_on_anything(length, decay, heads, groups, widths, direction, strength, bounded, seed):
    x = inputs(
        length, decay, heads=heads, groups=groups, width=widths[0], value_width=widths[1], strength=strength, seed=seed
    )
    mask = torch.rand(2, length, generator=torch.Generator().manual_seed(seed)) > 0.2
    outs = [
        linear_recurrence(
            **x, mask=mask, direction=direction, decay_bound=-strength if bounded else None, impl=impl
        ).output
        for impl in IMPLS
    ]
    torch.testing.assert_close(outs[1], outs[0], rtol=1e-10, atol=1e-10)


def test_long_sequences_scan_their_chunks_in_groups():
    for decay in ("head", "channel"):
        x = inputs(5000, decay, batch=1, heads=1, strength=0.01)
        outs = [linear_recurrence(**x, return_state=True, impl=impl) for impl in IMPLS]
        torch.testing.assert_close(outs[1].output, outs[0].output, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(outs[1].state, outs[0].state, rtol=1e-10, atol=1e-10)


def test_half_precision_keeps_state_and_gates_in_fp32():
    x = inputs(300, "channel", dtype=torch.float32)
    half = {n: t if n == "log_decay" else t.bfloat16() for n, t in x.items()}
    exact = linear_recurrence(**{n: t.float() for n, t in half.items()}, return_state=True)
    got = linear_recurrence(**half, return_state=True)
    assert (got.output.dtype, got.state.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(got.state, exact.state)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(linear_recurrence(**half).output, got.output)


def test_compile_with_gradients():
    x = inputs(70, "channel", dtype=torch.float32)

    def function(**t):
        return linear_recurrence(**t, decay_bound=-1.0, direction="reverse").output

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_same(with_gradients(compiled, x), with_gradients(function, x), 1e-5)


class Op(torch.nn.Module):
    def forward(self, q, k, v, log_decay):
        return linear_recurrence(q, k, v, log_decay, return_state=True)


def test_export_with_a_dynamic_length():
    decay = "head"
    sizes = tuple({2: torch.export.Dim.DYNAMIC} for _ in range(4))
    example = tuple(inputs(9, decay, dtype=torch.float32).values())
    program = torch.export.export(Op(), example, dynamic_shapes=sizes).module()
    for length in (2, 64, 197, 600):
        x = inputs(length, decay, dtype=torch.float32)
        for got, expected in zip(program(*x.values()), Op()(**x), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"k": torch.zeros(2, 2, 6, 4)},
            r"k has the wrong shape.*\[B, H, T, K\] with B=2, H=2, T=5, K=4.*\[2, 2, 6, 4\]",
        ),
        ({"v": torch.zeros(2, 3, 5, 3)}, r"v has the wrong number of heads.*a multiple of H=2.*HV=3"),
        ({"log_decay": torch.zeros(2, 2, 5, 3)}, r"log_decay has the wrong shape.*B, HV, T, K"),
        ({"log_decay": torch.full((2,), 0.5)}, r"log_decay must not grow.*largest value of 0\.5"),
        ({"log_decay": torch.full((2,), -3.0), "decay_bound": -2.0}, r"breaks the stated decay_bound.*>= -2.*-3"),
        ({"decay_bound": 1.0}, r"decay_bound is not a bound.*<= 0.*1\.0"),
        ({"mask": torch.ones(2, 5)}, r"mask has the wrong dtype.*torch.bool.*torch.float32"),
        ({"initial_state": torch.zeros(2, 2, 3, 4)}, r"initial_state has the wrong shape.*\[B, HV, K, V\]"),
        ({"initial_state": torch.zeros(2, 2, 4, 3).half()}, r"initial_state has the wrong dtype.*float32 or float64"),
        ({"direction": "backward"}, r"unknown direction 'backward'.*forward"),
        ({"direction": "both", "return_state": True}, r"direction='both' has no state"),
        ({"cu_seqlens": torch.tensor([0, 5])}, r"cu_seqlens does not fit.*B=1.*B=2"),
        ({"cu_seqlens": torch.tensor([0.0, 5])}, r"cu_seqlens must hold.*\[N \+ 1\] of int32"),
        ({"cu_seqlens": torch.tensor([0, 5]), "mask": torch.ones(2, 5, dtype=torch.bool)}, "exclude each other"),
        ({"impl": "triton"}, r"no triton form.*impl='reference' or impl='chunk'"),
    ],
)
def test_errors_name_the_argument_what_was_expected_and_what_came(change, message):
    arguments = inputs(5, "none", dtype=torch.float32) | change
    with pytest.raises(UserError, match="(?s)" + message):
        linear_recurrence(**arguments)
