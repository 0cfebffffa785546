"""The contract of `scan`: every form is the loop over time, in every direction, padded, packed, split and exported."""

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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_chunk_is_the_reference_with_every_gradient(length: int, kind: str) -> None:
    x, gate = inputs(length, kind)
    state = torch.randn(2, 3, 5, dtype=gate.dtype, requires_grad=True)
    for direction in ("forward", "reverse"):
        forms = [
            values_and_gradients(x, gate, state, direction=direction, return_state=True, impl=impl)
            for impl in ("reference", "chunk")
        ]
        assert_same(forms[1], forms[0], 1e-10)
    if length < 100:
        forms = [values_and_gradients(x, gate, direction="both", impl=impl) for impl in ("reference", "chunk")]
        assert_same(forms[1], forms[0], 1e-10)


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


@pytest.mark.parametrize("kind", ["channel", "complex", "constant"])
@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_state_carries_across_every_split(impl: str, kind: str) -> None:
    x, gate = inputs(17, kind)
    state = torch.randn(2, 3, 5, dtype=gate.dtype)
    for direction in ("forward", "reverse"):
        options = {"direction": direction, "return_state": True, "impl": impl}
        whole = scan(x, gate, initial_state=state, **options)
        for split in range(18):
            parts = [
                (x[:, :, a:b], gate if kind == "constant" else gate[:, :, a:b]) for a, b in ((0, split), (split, 17))
            ]
            first, second = parts if direction == "forward" else parts[::-1]
            before = scan(*first, initial_state=state, **options)
            after = scan(*second, initial_state=before.state, **options)
            outputs = (before.output, after.output) if direction == "forward" else (after.output, before.output)
            assert_same((torch.cat(outputs, 2), after.state), whole, 1e-12)


@pytest.mark.parametrize("kind", ["channel", "complex", "constant", "constant head"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_packed_row_is_its_sequences_one_by_one(direction: str, kind: str) -> None:
    x, gate = inputs(40, kind, batch=1)
    offsets = torch.tensor([0, 0, 7, 8, 8, 40, 40])
    state = None if direction == "both" else torch.randn(6, 3, 5, dtype=gate.dtype, requires_grad=True)
    options = {"direction": direction, "return_state": state is not None}
    got = scan(x, gate, initial_state=state, cu_seqlens=offsets.int(), **options)
    outputs, states = [], []
    for n, (a, b) in enumerate(itertools.pairwise(offsets.tolist())):
        steps = gate if kind.startswith("constant") else gate[:, :, a:b]
        one = scan(x[:, :, a:b], steps, initial_state=None if state is None else state[n : n + 1], **options)
        outputs.append(one.output)
        states.append(one.state)
    expected = [torch.cat(outputs, 2), *([] if state is None else [torch.cat(states)])]
    got = got[: len(expected)]
    assert_same(got, expected, 1e-12)
    leaves = [x, gate, *([] if state is None else [state])]
    totals = [sum((t * t.conj()).real.sum() for t in made) for made in (got, expected)]
    assert_same(*(torch.autograd.grad(total, leaves) for total in totals), 1e-11)


def test_packed_without_anything_in_it() -> None:
    x, gate = inputs(0, "channel", batch=1)
    state = torch.randn(2, 3, 5, dtype=torch.float64)
    result = scan(x, gate, cu_seqlens=torch.tensor([0, 0, 0]), initial_state=state, return_state=True)
    assert result.output.shape == x.shape
    assert torch.equal(result.state, state)
    assert scan(x, gate, cu_seqlens=torch.tensor([0, 0]), return_state=True).state.shape == (1, 3, 5)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", ["channel", "constant"])
def test_padding_changes_nothing(kind: str, direction: str) -> None:
    x, gate = inputs(30, kind)
    state = {} if direction == "both" else {"return_state": True}
    padded = torch.cat((torch.full_like(x[:, :, :2], torch.nan), x, torch.full_like(x[:, :, :5], INF)), 2)
    steps = gate if kind == "constant" else torch.nn.functional.pad(gate, (0, 0, 2, 5), value=-3.0)
    mask = (torch.arange(37) >= 2) & (torch.arange(37) < 32)
    got = scan(padded, steps, mask=mask.expand(2, -1), direction=direction, **state)
    alone = scan(x, gate, direction=direction, **state)
    torch.testing.assert_close(got.output[:, :, 2:32], alone.output, rtol=1e-13, atol=1e-13)
    assert not got.output[:, :, 32:].any()
    if state:
        torch.testing.assert_close(got.state, alone.state, rtol=1e-13, atol=1e-13)
    (gradient,) = torch.autograd.grad(got.output.sum(), gate)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_is_not_seen_and_items_do_not_meet(kind: str) -> None:
    x, gate = (t.detach() for t in inputs(65, kind))
    before = scan(x, gate).output
    changed, changed_gate = x.clone(), gate.clone()
    changed[:, :, 40:] = 1e30
    if not kind.endswith(("constant", "constant head")):
        changed_gate[:, :, 40:] *= 2
    after = scan(changed, changed_gate).output
    assert torch.equal(before[:, :, :40], after[:, :, :40])
    assert not torch.equal(before[:, :, 40:], after[:, :, 40:])
    back = scan(x.flip(2), gate if gate.dim() == 2 else gate.flip(2), direction="reverse").output
    back_changed = scan(changed.flip(2), gate if gate.dim() == 2 else changed_gate.flip(2), direction="reverse").output[
        :, :, 26:
    ]
    assert torch.equal(back[:, :, 26:], back_changed)
    alone = scan(x[1:], gate if gate.dim() == 2 else gate[1:]).output
    assert torch.equal(before[1:], alone)


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


def test_non_contiguous_inputs_and_expanded_gradients() -> None:
    x, gate = inputs(65, "channel")
    plain = values_and_gradients(x, gate)
    odd = [t.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0).requires_grad_() for t in (x, gate)]
    assert not odd[0].is_contiguous()
    assert_same(values_and_gradients(*odd), plain, 1e-13)
    wide = torch.stack((x, torch.full_like(x, torch.nan)), -1)[..., 0]
    assert_same([scan(wide, gate).output], [scan(x, gate).output], 1e-14)


def test_no_uninitialised_memory_is_read() -> None:
    torch.use_deterministic_algorithms(True)  # fills every new buffer with NaN
    try:
        for length, direction in itertools.product((1, 16, 63, 197), DIRECTIONS):
            for made in values_and_gradients(*inputs(length, "channel"), direction=direction):
                assert torch.isfinite(made).all()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("kind", ["channel", "head", "complex", "complex constant"])
@pytest.mark.parametrize("direction", ["reverse", "both"])
def test_gradcheck(direction: str, kind: str) -> None:
    x, gate = (t.detach() for t in inputs(5, kind, batch=1))
    gate = torch.complex(gate.real.clamp(-1, -0.1), gate.imag) if gate.is_complex() else gate.clamp(-1, -0.1)
    leaves = [x.requires_grad_(), gate.requires_grad_()]

    def outputs(x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        return scan(x, gate, direction=direction, impl="chunk", check=False).output

    assert torch.autograd.gradcheck(outputs, leaves)
    if kind == "channel":
        assert torch.autograd.gradgradcheck(outputs, leaves)


# torch 2.14's own opcheck looks at .grad of a tensor that is no leaf
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("reverse", [False, True])
def test_opcheck(reverse: bool) -> None:
    for kind in ("channel", "head", "complex"):
        x, gate = inputs(7, kind)
        x = x.detach().to(gate.dtype).requires_grad_()
        torch.library.opcheck(block_scan, (x, torch.exp(gate.detach()).requires_grad_(), reverse))


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


GRAPHS = [("both", "channel"), ("reverse", "head"), ("forward", "complex"), ("forward", "constant")]


class Net(torch.nn.Module):
    def __init__(self, **options) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: torch.Tensor, gate: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = scan(x, gate, **self.options)
        return tuple(t for t in result if t is not None)


@pytest.mark.parametrize(("direction", "kind"), GRAPHS)
def test_compile_with_gradients(direction: str, kind: str) -> None:
    torch._dynamo.reset()
    net = Net(direction=direction, return_state=direction != "both")
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    x, gate = inputs(19, kind)
    gradients = []
    for run in (net, compiled):
        outputs = run(x, gate)
        total = sum((t * t.conj()).real.sum() for t in outputs)
        gradients.append([*outputs, *torch.autograd.grad(total, (x, gate))])
    assert_same(gradients[1], gradients[0], 1e-12)


@pytest.mark.parametrize(("direction", "kind"), GRAPHS)
def test_export_with_any_length_is_a_plain_graph(direction: str, kind: str) -> None:
    state = {} if direction == "both" else {"return_state": True, "initial_state": torch.ones(2, 3, 5).double()}
    net = Net(direction=direction, **state)
    length = torch.export.Dim("T", min=2, max=2**20)
    steps = {2: length} if "constant" not in kind else None
    x, gate = (t.detach() for t in inputs(9, kind))
    program = torch.export.export(net, (x, gate), dynamic_shapes=({2: length}, steps))
    assert not [node for node in program.graph.nodes if "gated" in str(node.target)]
    for other in (2, 64, 197, 5000):
        x, gate = (t.detach() for t in inputs(other, kind))
        assert_same(program.module()(x, gate), net(x, gate), 1e-10)


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
    with pytest.raises(UserError, match="no triton form"):
        scan(x, gate, impl="triton")
