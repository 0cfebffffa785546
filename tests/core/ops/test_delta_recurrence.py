"""What is special to `delta_recurrence`: every form is the update written out. `test_contract.py` has the rest."""

from __future__ import annotations

import pytest
import torch

from gated.core.ops import delta_recurrence
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
    made["k"] = torch.nn.functional.normalize(made["k"], dim=-1)
    made["beta"] = 2 * torch.rand(batch, heads, length, generator=rng, dtype=dtype)
    shape = shapes[decay]
    made["log_decay"] = None if shape is None else -strength * torch.rand(shape, generator=rng, dtype=dtype)
    return made


def looped(x, direction, mask):
    """The update written per item, head and token with dense matrices."""
    q, k, v, beta, g = (x[name] for name in ("q", "k", "v", "beta", "log_decay"))
    batch, heads, length, width = v.shape
    out = torch.zeros_like(v)
    for b in range(batch):
        tokens = [t for t in range(length) if mask[b, t]]
        for h in range(heads):
            source = h // (heads // q.shape[1])
            state = torch.zeros(q.shape[-1], width, dtype=v.dtype)
            gates = {
                t: torch.zeros(()) if g is None else g[source] if g.dim() == 1 else g[b, source, t] for t in tokens
            }
            order = tokens if direction == "forward" else tokens[::-1]
            for i, t in enumerate(order):
                # the gate between two tokens is that of the later one
                gate = gates[t] if direction == "forward" else gates[order[i - 1]] if i else torch.zeros(())
                key = k[b, source, t]
                erase = torch.eye(len(key), dtype=v.dtype) - beta[b, source, t] * torch.outer(key, key)
                state = erase @ (gate.exp().unsqueeze(-1) * state) + beta[b, source, t] * torch.outer(key, v[b, h, t])
                out[b, h, t] = q.shape[-1] ** -0.5 * q[b, source, t] @ state
    return out


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_both_directions_are_the_update_written_with_matrices(impl, decay, direction):
    x = inputs(20, decay, groups=2)
    mask = torch.rand(2, 20) > 0.3
    for m in (torch.ones_like(mask), mask):
        out = delta_recurrence(**x, direction=direction, mask=m, impl=impl).output
        torch.testing.assert_close(out, looped(x, direction, m), rtol=1e-11, atol=1e-11)
    assert not out.transpose(1, 2)[~mask].any()  # masked tokens get zeros


def test_keys_that_are_not_normalised_are_still_the_same_sum():
    x = inputs(64, "head")
    x["k"] = 1.3 * x["k"]
    x["beta"] = x["beta"] / 2
    outs = [delta_recurrence(**x, impl=impl).output for impl in IMPLS]
    torch.testing.assert_close(outs[1], outs[0], rtol=1e-9, atol=1e-9)


def test_half_precision_keeps_state_and_gates_in_fp32():
    x = inputs(300, "channel", dtype=torch.float32)
    half = {n: t if n in ("log_decay", "beta") else t.bfloat16() for n, t in x.items()}
    exact = delta_recurrence(**{n: t.float() for n, t in half.items()}, return_state=True)
    got = delta_recurrence(**half, return_state=True)
    assert (got.output.dtype, got.state.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(got.state, exact.state)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(delta_recurrence(**half).output, got.output)


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
        ({"direction": "both"}, r"direction='both' is not defined.*direction='forward' and direction='reverse'"),
        ({"beta": torch.zeros(2, 2, 5, 1)}, r"beta has the wrong shape.*\[B, HV, T\].*\[2, 2, 5, 1\]"),
        ({"cu_seqlens": torch.tensor([0, 5])}, r"cu_seqlens does not fit.*B=1.*B=2"),
        ({"cu_seqlens": torch.tensor([0.0, 5])}, r"cu_seqlens has the wrong dtype.*\[N\+1\] of int32"),
        ({"cu_seqlens": torch.tensor([0, 5]), "mask": torch.ones(2, 5, dtype=torch.bool)}, "exclude each other"),
    ],
)
def test_errors_name_the_argument_what_was_expected_and_what_came(change, message):
    arguments = inputs(5, "none", dtype=torch.float32) | change
    with pytest.raises(UserError, match="(?s)" + message):
        delta_recurrence(**arguments)


@pytest.mark.parametrize("length", [64, 512])
def test_keys_that_repeat_under_beta_two_cost_few_digits(length):
    """Mirrors and no contraction: solving for the changes keeps digits here that an explicit inverse loses."""
    x = inputs(length, "none", width=32, value_width=32)
    common = torch.randn(2, 2, 1, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x["k"] = torch.nn.functional.normalize(0.9 * common + 0.1 * x["k"], dim=-1)
    x["beta"] = torch.full_like(x["beta"], 2.0)
    del x["log_decay"]
    exact = delta_recurrence(**x, impl="reference").output
    missed = {
        impl: delta_recurrence(**{name: t.float() for name, t in x.items()}, impl=impl).output - exact for impl in IMPLS
    }
    assert missed["chunk"].square().mean() < 10**2 * missed["reference"].square().mean()
