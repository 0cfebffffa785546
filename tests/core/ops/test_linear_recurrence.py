"""What is special to `linear_recurrence`: every form is the dense sum over pairs. `test_contract.py` has the rest."""

from __future__ import annotations

import pytest
import torch

from gated.core.ops import linear_recurrence
from gated.errors import UserError

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
        ({"scale": torch.tensor(0.5)}, r"scale is no number.*a number.*Tensor tensor\(0\.5"),
        ({"decay_bound": 1.0}, r"decay_bound is not a bound.*<= 0.*1\.0"),
        ({"mask": torch.ones(2, 5)}, r"mask has the wrong dtype.*torch.bool.*torch.float32"),
        ({"initial_state": torch.zeros(2, 2, 3, 4)}, r"initial_state has the wrong shape.*\[B, HV, K, V\]"),
        ({"initial_state": torch.zeros(2, 2, 4, 3).half()}, r"initial_state has the wrong dtype.*float32 or float64"),
        ({"direction": "backward"}, r"unknown direction 'backward'.*forward"),
        ({"direction": "both", "return_state": True}, r"direction='both' has no state"),
        ({"cu_seqlens": torch.tensor([0, 5])}, r"cu_seqlens does not fit.*B=1.*B=2"),
        ({"cu_seqlens": torch.tensor([0.0, 5])}, r"cu_seqlens has the wrong dtype.*\[N\+1\] of int32"),
        ({"cu_seqlens": torch.tensor([0, 5]), "mask": torch.ones(2, 5, dtype=torch.bool)}, "exclude each other"),
    ],
)
def test_errors_name_the_argument_what_was_expected_and_what_came(change, message):
    arguments = inputs(5, "none", dtype=torch.float32) | change
    with pytest.raises(UserError, match="(?s)" + message):
        linear_recurrence(**arguments)


@pytest.mark.parametrize("bound", [-10.0, -15.0])
def test_backward_can_be_differentiated_where_it_is_written_by_hand(bound: float):
    """Chunk after chunk with a bound of -10; with one of -15, blocks of 4 and two levels of squares in 16 tokens."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 1, 16, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    gate = (-torch.rand(1, 1, 16, 2, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda *x: linear_recurrence(*x, decay_bound=bound, impl="chunk").output, (q, k, v, gate), fast_mode=True
    )
