"""What is special to `scan`: every form is the sum over pairs, also that of exported graphs."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gated.core.ops import scan
from gated.core.ops.scan.blocks import block_scan
from gated.core.ops.scan.convolution import convolution_scan
from gated.core.ops.scan.doubling import doubling_scan
from gated.core.ops.scan.reference import reference
from gated.errors import UserError

LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 197, 1000)
DIRECTIONS = ("forward", "reverse", "both")
KINDS = ("channel", "head", "complex", "constant", "complex constant", "constant head")
INF = float("inf")


def inputs(length: int, kind: str, dtype=torch.float64, batch: int = 2, layout: str = "heads"):
    lead = (batch, 3) if layout == "heads" else (batch,)
    shape = {"head": (*lead, length, 1), "constant head": (3, 1)}.get(kind, (*lead, length, 5))
    if kind.endswith("constant"):
        shape = (3, 5) if layout == "heads" else (5,)
    gate = -2 * torch.rand(shape, dtype=dtype)
    for position, extreme in enumerate((0.0, -80.0, -INF)):  # where a gate has room for them
        gate.view(-1)[position::7] = extreme
    if "complex" in kind:
        gate = torch.complex(gate, torch.randn(shape, dtype=dtype))
    return torch.randn(*lead, length, 5, dtype=dtype).requires_grad_(), gate.requires_grad_()


def values_and_gradients(x, log_decay, *more, **options) -> list[torch.Tensor]:
    if more:
        options["initial_state"] = more[0]
    result = scan(x, log_decay, **options)
    made = [t for t in result if t is not None]
    total = sum((torch.view_as_real(t) if t.is_complex() else t).square().sum() + t.real.sum() for t in made)
    return [*made, *torch.autograd.grad(total, (x, log_decay, *more))]


def assert_same(got, expected, tolerance: float) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def dense(x: torch.Tensor, log_decay: torch.Tensor, direction: str, real: torch.Tensor, sequence: torch.Tensor):
    """The sum over all pairs, with every weight a product written out; ``real`` and ``sequence`` are ``[T]``."""
    length, decay = x.shape[-2], torch.exp(log_decay)
    out = torch.zeros_like(x * decay)
    for i, j in itertools.product(range(length), range(length)):
        seen = {"forward": j <= i, "reverse": j >= i, "both": True}[direction]
        if seen and real[i] and real[j] and sequence[i] == sequence[j]:
            between = [r for r in range(min(i, j) + 1, max(i, j) + 1) if real[r]]
            out[..., i, :] += decay[..., between, :].prod(-2) * x[..., j, :]
    return out


@pytest.mark.parametrize("impl", ["reference", "chunk"])
@pytest.mark.parametrize("kind", ["channel", "complex", "head"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_output_is_the_sum_over_pairs(direction: str, kind: str, impl: str) -> None:
    x, gate = (t.detach() for t in inputs(13, kind, batch=1))
    everything, one = torch.ones(13, dtype=torch.bool), torch.zeros(13)
    assert_same(
        [scan(x, gate, direction=direction, impl=impl).output], [dense(x, gate, direction, everything, one)], 1e-12
    )
    real = torch.rand(13) > 0.4
    loud = torch.where(real[:, None], x, torch.nan)
    masked = scan(loud, gate, direction=direction, mask=real[None], impl=impl).output
    assert_same([masked], [dense(x, gate, direction, real, one)], 1e-12)
    packed = scan(x, gate, direction=direction, cu_seqlens=torch.tensor([0, 4, 4, 5, 13]), impl=impl).output
    sequence = torch.tensor([0] * 4 + [2] + [3] * 8)
    assert_same([packed], [dense(x, gate, direction, everything, sequence)], 1e-12)


@pytest.mark.parametrize("kind", ["channel", "complex", "constant"])
def test_layout_without_heads(kind: str) -> None:
    x, gate = inputs(20, kind, layout="plain")
    with_head = scan(x.unsqueeze(1), gate if kind == "constant" else gate.unsqueeze(1), return_state=True)
    without = scan(x, gate, return_state=True)
    assert_same(without, [t.squeeze(1) for t in with_head], 1e-14)


def test_packed_without_anything_in_it() -> None:
    x, gate = inputs(0, "channel", batch=1)
    state = torch.randn(2, 3, 5, dtype=torch.float64)
    result = scan(x, gate, cu_seqlens=torch.tensor([0, 0, 0]), initial_state=state, return_state=True)
    assert result.output.shape == x.shape
    assert torch.equal(result.state, state)
    assert scan(x, gate, cu_seqlens=torch.tensor([0, 0]), return_state=True).state.shape == (1, 3, 5)


@pytest.mark.parametrize("kind", ["channel", "head", "complex", "constant"])
def test_fp32_is_as_good_as_the_reference_in_fp32(kind: str) -> None:
    x, gate = (t.detach() for t in inputs(1000, kind))
    gate = gate * 0.01 if not gate.isinf().any() else torch.where(gate.isinf(), gate, gate * 0.01)
    low = [t.to(torch.complex64 if t.is_complex() else torch.float32).requires_grad_() for t in (x, gate)]
    exact = values_and_gradients(
        *(t.detach().to(torch.promote_types(t.dtype, torch.float64)).requires_grad_() for t in low)
    )
    errors = {}
    for impl in ("reference", "chunk"):
        got = values_and_gradients(*low, impl=impl)
        errors[impl] = [(a - b).abs() for a, b in zip(got, exact, strict=True)]
    for ours, theirs, size in zip(errors["chunk"], errors["reference"], exact, strict=True):
        rms = size.abs().square().mean().sqrt()
        assert ours.square().mean().sqrt() <= 2 * theirs.square().mean().sqrt() + 1e-7 * rms
        assert ours.max() <= 2 * theirs.max() + 1e-6 * rms


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_half_precision_computes_in_fp32(impl: str) -> None:
    x, gate = (t.detach() for t in inputs(197, "channel", torch.float32))
    half = scan(x.bfloat16(), gate, return_state=True, impl=impl)
    full = scan(x.bfloat16().float(), gate, return_state=True, impl=impl)
    assert half.output.dtype == torch.bfloat16
    assert half.state.dtype == torch.float32
    assert torch.equal(half.output, full.output.bfloat16())
    assert torch.equal(half.state, full.state)
    turned = scan(x.bfloat16(), torch.complex(gate, gate), return_state=True, impl=impl)
    assert turned.output.dtype == turned.state.dtype == torch.complex64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scan(x, gate, impl=impl).output, scan(x.clone(), gate, impl=impl).output.float())


@pytest.mark.parametrize("direction", ["reverse", "both"])
def test_backward_can_be_differentiated(direction: str) -> None:
    x, gate = (t.detach() for t in inputs(5, "channel", batch=1))
    leaves = [x.requires_grad_(), gate.clamp(-1, -0.1).requires_grad_()]
    assert torch.autograd.gradgradcheck(
        lambda x, gate: scan(x, gate, direction=direction, impl="chunk", check=False).output, leaves
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    length=st.integers(0, 150),
    kind=st.sampled_from(KINDS),
    reverse=st.booleans(),
    strength=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_all_forms_are_one_function(length: int, kind: str, reverse: bool, strength: float, seed: int) -> None:
    torch.manual_seed(seed)
    x, gate = (t.detach() for t in inputs(length, kind))
    gate = torch.where(gate.isinf(), gate, gate * strength)
    x, constant = x.to(gate.dtype), gate.dim() == 2
    gate = gate.unsqueeze(-2) if constant else gate
    expected = reference(x, gate, constant=constant, reverse=reverse)
    got = [block_scan(x, torch.exp(gate), reverse)]
    steps = torch.exp(gate).expand(*gate.shape[:-2], length, -1) if constant else torch.exp(gate)
    got.append(doubling_scan(x, steps, reverse=reverse))
    if constant:
        got.append(convolution_scan(x, gate, reverse=reverse))
    for form in got:
        torch.testing.assert_close(form, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["constant", "complex constant"])
@pytest.mark.parametrize("length", LENGTHS)
def test_convolution_is_the_reference_with_every_gradient(length: int, kind: str) -> None:
    x, gate = inputs(length, kind)
    results = []
    for form in (
        lambda a, b: reference(a, b, constant=True, reverse=False),
        lambda a, b: convolution_scan(a, b, reverse=False),
    ):
        h = form(x.to(gate.dtype), gate.unsqueeze(-2))
        results.append([h, *torch.autograd.grad((h * h.conj()).real.sum(), (x, gate))])
    assert_same(results[1], results[0], 1e-10)


def test_errors_name_the_argument_the_shape_and_what_came() -> None:
    x, gate = (t.detach() for t in inputs(5, "channel"))
    with pytest.raises(UserError, match=r"x has the wrong shape(.|\n)*\[B, H, T, D\] or \[B, T, D\]"):
        scan(x[0, 0], gate)
    with pytest.raises(UserError, match=r"log_decay has the wrong shape(.|\n)*\[H, D\](.|\n)*D=5(.|\n)*\[2, 3, 4, 5\]"):
        scan(x, gate[:, :, :4])
    with pytest.raises(UserError, match=r"initial_state has the wrong shape(.|\n)*\[B, H, D\]"):
        scan(x, gate, initial_state=x)
    with pytest.raises(UserError, match="mask has the wrong dtype"):
        scan(x, gate, mask=torch.ones(2, 5))
    with pytest.raises(UserError, match="cu_seqlens does not fit"):
        scan(x[:1], gate[:1], cu_seqlens=torch.tensor([0, 3]))
    with pytest.raises(UserError, match=r"log_decay must not grow the state(.|\n)*0\.5"):
        scan(x, torch.full_like(gate, 0.5))
    with pytest.raises(UserError, match="log_decay must not grow the state"):
        scan(x, torch.full_like(gate, 0.5 + 1j, dtype=torch.complex128))
    scan(x, torch.full_like(gate, 0.5), check=False)
    with pytest.raises(UserError, match="x has the wrong dtype"):
        scan(x.long(), gate)
    with pytest.raises(UserError, match="did you mean 'reverse'"):
        scan(x, gate, direction="revers")
    with pytest.raises(UserError, match="direction='both' has no state"):
        scan(x, gate, direction="both", return_state=True)
