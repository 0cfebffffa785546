"""One contract for every op in `gated.core.ops` and every form of it, by enumeration: a new one is covered at once.

The oracle is the reference in double precision; each op's own tests hold the reference to the formulas of the papers.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode

from gated.core import ops
from gated.core.ops import _op
from gated.core.testing import Named, assert_same, assert_within_budget, with_gradients
from gated.errors import UserError

from .cases import CASES, DEVICE, Case, Tensors, declared, forms

# said by triton 3.6's interpreter for every number that a kernel is given

FORMS = {op: forms(op) for op in ops.list_ops()}
FAST = ("chunk", "triton")
REGISTERED = sorted(name for name in torch._C._dispatch_get_all_op_names() if name.startswith("gated::"))


def over(
    *names: str,
    where: Callable[[Case], Any] = lambda case: True,
    thorough: bool = False,
    **more: Callable[[Case, str], Any],
) -> Any:
    """Parametrize by every case for which ``where`` holds and every form of its op, or those in ``names``.

    ``thorough`` has all cases interpreted, not only typical ones; ``more`` holds further parameters, each with the
    function (case, form) -> values.
    """
    rows = []
    for case in filter(where, CASES):
        usable = [form for form in FORMS[case.op] if thorough or case.typical or not interpreted(form)]
        for form in [form for form in usable if form in names or not names]:
            for values in itertools.product(*(of(case, form) for of in more.values())):
                rows.append(pytest.param(case, form, *values, id="-".join(map(str, (case, *values, form)))))
    return pytest.mark.parametrize(("case", "form", *more), rows)


def interpreted(form: str) -> bool:
    """Whether kernels take milliseconds a program, so that they get less of everything."""
    return form == "triton" and DEVICE.type == "cpu"


def lengths(case: Case, form: str) -> tuple[int, ...]:
    short, long = (0, 1, 15, 16, 17, 63, 64, 65, 197), (1000,)
    if interpreted(form):
        return (0, 1, 65) if case.typical else (17,)
    return short + long if case.typical or DEVICE.type == "cuda" else short


def heads(form: str) -> dict[str, int]:
    return {"B": 1, "H": 1} if interpreted(form) else {}


def many_heads(case: Case, form: str) -> dict[str, int]:
    """Sizes at which errors can be compared: one number a head has but one error a head, which may be small by luck."""
    one_each = any(spec.shape.startswith("H") for spec in case.tensors.values())
    return {"B": 1, "H": 8 if not interpreted(form) else 4 if one_each else 1, "K": 16, "V": 16}


def takes(case: Case, *arguments: str) -> str | None:
    """The first of ``arguments`` that the op of ``case`` has."""
    known = inspect.signature(getattr(ops, case.op)).parameters
    return next((argument for argument in arguments if argument in known), None)


def unchecked(case: Case) -> dict[str, Any]:
    return {"check": False} if takes(case, "check") else {}


def result(case: Case, tensors: Tensors, form: str, **options: Any) -> Named:
    return with_gradients(lambda **t: case(t, form, **options), tensors)


def to(dtype: torch.dtype, tensors: Tensors) -> Tensors:
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}


def cut(case: Case, tensors: Tensors, start: int, stop: int) -> Tensors:
    """What lies from ``start`` to before ``stop`` in time."""
    axes = case.axes("T")
    return {n: t.narrow(axes[n], start, stop - start) if n in axes else t for n, t in tensors.items()}


def outputs(case: Case, parts: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Those that run along time."""
    return parts[:1] if case.has_state else parts


def test_every_op_and_every_argument_has_a_case() -> None:
    have_tests_of_their_own = {"impl", "check", "dropout"}
    assert len({str(case) for case in CASES}) == len(CASES)
    for op in ops.list_ops():
        cases = [case for case in CASES if case.op == op]
        used = {name.partition("[")[0] for case in cases for name in (*case.tensors, *case.options)}
        missing = set(inspect.signature(getattr(ops, op)).parameters) - used - have_tests_of_their_own
        assert not missing, f"{op}: no case uses {sorted(missing)}"
        assert any(case.typical for case in cases), f"{op} has no typical case"


@over(*FAST, length=lengths, thorough=True)
def test_values_and_every_gradient_are_those_of_the_reference(case: Case, form: str, length: int) -> None:
    x = case.make(length, **({"B": 1, "H": 1} if length > 100 else heads(form)))
    assert_same(result(case, x, form), result(case, x, "reference"))


@over(*FAST, dtype=lambda case, form: (torch.float32, torch.bfloat16, torch.float16))
@pytest.mark.usefixtures("tensor_cores")
def test_rounding_errors_are_at_most_twice_those_of_the_reference(case: Case, form: str, dtype: torch.dtype) -> None:
    length = 70 if dtype == torch.float32 and not interpreted(form) else 17  # products in half precision crawl on a CPU
    x = case.make(length, dtype=dtype, **many_heads(case, form))
    got = result(case, x, form)
    reference, exact = result(case, x, "reference"), result(case, to(torch.float64, x), "reference")
    # torch's own kernel, which this case runs in single precision, needs 4.3 units for its largest error with AVX-512
    lent = (case.op, case.name, form, dtype) == ("softmax_attention", "bias-mask", "chunk", torch.float32)
    assert_within_budget(got, reference, exact, largest_floor=5.0 if lent else 4.0)


@over(where=lambda case: not any(spec.is_complex for spec in case.tensors.values()))
def test_dtypes_of_outputs_and_gradients(case: Case, form: str) -> None:
    """The output is as precise as the values, gradients as what they are gradients of, states are never halved."""
    x = case.make(5, dtype=torch.bfloat16, **heads(form))
    x |= {name: x[name].float() for name in case.named("gate")}
    got = result(case, x, form)
    for i, out in enumerate(outputs(case, case(x, form))):
        assert out.dtype == torch.bfloat16, i
    if case.has_state:
        assert got["output 1"].dtype == torch.float32
    for name, t in x.items():
        assert not t.is_floating_point() or got[f"gradient of {name}"].dtype == t.dtype, name


GATES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "open": torch.zeros_like,
    "-80": lambda even: torch.full_like(even, -80.0),
    "closed": lambda even: torch.full_like(even, -math.inf),
    "all kinds": lambda even: torch.where(
        even < 0.1, -math.inf, torch.where(even < 0.2, -80.0, torch.where(even < 0.4, 0.0, -0.1 * even))
    ),
}


NOTHING = 1e-30
"""What is smaller than this in single precision may underflow with the next product."""


def drawn_with_each_gate(case: Case, form: str) -> tuple[Tensors, ...]:
    """Calls that show every gate of ``GATES``: one with an item of the batch each, where gates have a batch."""
    length, sizes = 20 if interpreted(form) else 70, many_heads(case, form)
    calls = [case.make(length, dtype=torch.float32, gate=gate, **sizes) for gate in GATES.values()]
    batched = case.axes("B")
    if not batched.keys() >= set(case.named("log gate", "gate")):
        return tuple(calls)
    return ({name: torch.cat([x[name] for x in calls]) if name in batched else t for name, t in calls[0].items()},)


def of_items(case: Case, count: int, found: Named) -> list[Named]:
    """Split by items of the batch, without the gradients that they share; all of it if ``count`` is 1."""
    if count == 1:
        return [found]
    own = {"output 0", "output 1", *(f"gradient of {name}" for name in case.axes("B"))}
    return [{name: t[i : i + 1] for name, t in found.items() if name in own} for i in range(count)]


@over(*FAST, where=lambda case: case.named("log gate", "gate"))
@pytest.mark.usefixtures("tensor_cores")
def test_gates_at_their_extremes(case: Case, form: str) -> None:
    calls = drawn_with_each_gate(case, form)
    for x in calls:
        exact = result(case, to(torch.float64, x), "reference")
        assert_same(result(case, to(torch.float64, x), form), exact)
        results = result(case, x, form), result(case, x, "reference"), exact
        items = (of_items(case, 1 if len(calls) > 1 else len(GATES), found) for found in results)
        for got, reference, right in zip(*items, strict=True):
            assert all(t.isfinite().all() for t in got.values())
            lost = [name for name, t in right.items() if t.abs().max() < NOTHING]
            assert not [name for name in lost if got[name].abs().max() >= NOTHING]
            assert_within_budget(got, reference, {name: t for name, t in right.items() if name not in lost})


def poison(t: torch.Tensor) -> torch.Tensor:
    """What must not be read, in the shape of ``t``."""
    return torch.full_like(t, math.nan) if t.is_floating_point() else ~t if t.dtype == torch.bool else t - 10**6


def transposed(case: Case, name: str, t: torch.Tensor) -> torch.Tensor:
    """The layout ``[B, T, H, D]`` for ``[B, H, T, D]``."""
    first, second = (1, 2) if len(case.tensors[name].shape.split()) > 2 else (0, 1)
    return t if t.dim() < 2 else t.transpose(first, second).contiguous().transpose(first, second)


def interleaved(case: Case, name: str, t: torch.Tensor) -> torch.Tensor:
    """Every other element of something larger."""
    if case.tensors[name].is_complex:
        return torch.stack((t, poison(t)), -2)[..., 0, :]
    return torch.stack((t, poison(t)), -1)[..., 0]


def repeated(axis: str) -> Callable[[Case, str, torch.Tensor], torch.Tensor]:
    """The same for the whole of ``axis``, with a stride of 0."""

    def expanded(case: Case, name: str, t: torch.Tensor) -> torch.Tensor:
        at = case.tensors[name].axis(axis)
        return t if at is None else t.narrow(at, 0, 1).expand_as(t)

    return expanded


LAYOUTS = (transposed, interleaved, repeated("B"), repeated("T"))


@over()
def test_layout_in_memory_does_not_matter(case: Case, form: str) -> None:
    drawn = case.make(17, **heads(form))
    plain = result(case, drawn, form)
    for layout in LAYOUTS[:2] if interpreted(form) else LAYOUTS:
        x = {n: t if case.tensors[n].kind == "offsets" else layout(case, n, t) for n, t in drawn.items()}
        same = all(torch.equal(x[name], drawn[name]) for name in x)
        expected = plain if same else result(case, {n: t.contiguous() for n, t in x.items()}, form)
        assert_same(result(case, x, form), expected, 1e-12)


@contextlib.contextmanager
def new_memory_is_nan() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            assert torch.empty(9, device=DEVICE).isnan().all()
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def guarded(t: torch.Tensor) -> torch.Tensor:
    """``t`` in the middle of a larger buffer that must not be read."""
    band = poison(t.new_zeros(64))
    return torch.cat((band, t.flatten(), band))[64 : 64 + t.numel()].view(t.shape)


@over(length=lambda case, form: (1, 65) if form == "chunk" else (17,))
def test_nothing_is_read_that_was_not_given(case: Case, form: str, length: int) -> None:
    x = case.make(length, **heads(form))
    expected = result(case, x, form)
    with new_memory_is_nan():
        got = result(case, {name: guarded(t) for name, t in x.items()}, form)
    assert_same(got, expected, 1e-12)


def in_two(case: Case, tensors: Tensors, form: str, split: int) -> tuple[torch.Tensor, ...]:
    """Run up to ``split``, and from there with the state that was left."""
    length = next(iter(tensors.values())).shape[case.time_axis]
    parts = [cut(case, tensors, 0, split), cut(case, tensors, split, length)]
    order = (1, 0) if case.order == "reverse" else (0, 1)
    state, found = tensors["initial_state"], [tensors["initial_state"]] * 2
    for i in order:
        found[i], state = case(parts[i] | {"initial_state": state}, form)
    return torch.cat(found, case.time_axis), state


@over(where=lambda case: case.has_state and not case.packed)
def test_state_carries_across_every_split(case: Case, form: str) -> None:
    x = case.make(20, **heads(form))
    expected = case(x, form)
    for split in range(21) if form == "chunk" else (0, 16) if interpreted(form) else (0, 7, 16, 20):
        for got, whole in zip(in_two(case, x, form, split), expected, strict=True):
            torch.testing.assert_close(got, whole, rtol=1e-11, atol=1e-11)
    assert_same(with_gradients(lambda **t: in_two(case, t, form, 16), x), result(case, x, form))


@over(where=lambda case: case.has_state)
def test_a_state_is_no_view_of_what_was_given_and_keeps_nothing_else_in_memory(case: Case, form: str) -> None:
    for length in (0, 1, 20):
        x = case.make(length, **({"B": 1} if case.packed else {}) | heads(form))
        state = case(x, form)[1]
        assert state.untyped_storage().data_ptr() not in {t.untyped_storage().data_ptr() for t in x.values()}
        assert state.untyped_storage().nbytes() == state.numel() * state.itemsize


@over(where=lambda case: case.order)
def test_nothing_flows_against_the_order_of_time(case: Case, form: str) -> None:
    length = 33 if interpreted(form) else 300  # over more than one block of any form
    at = length * 2 // 3
    seen, hidden = (slice(at), slice(at, None)) if case.order == "forward" else (slice(at, None), slice(at))
    x = case.make(length, **heads(form))
    if case.packed:  # all in one sequence, so that the change could reach everything
        x["cu_seqlens"] = torch.tensor([0, 0, 0, 0, length], device=DEVICE)
    changed = dict(x)
    for name, axis in case.axes("T").items():
        t, kind = x[name].clone(), case.tensors[name].kind
        index = (slice(None),) * axis + (hidden,)
        if kind != "mask":
            t[index] = 0.5 * t[index] - (0.01 if kind == "log gate" else -0.1 if kind == "share" else -1.0)
        changed[name] = t
    index = (slice(None),) * case.time_axis
    for before, after in zip(
        outputs(case, case(x, form)), outputs(case, case(changed, form, **unchecked(case))), strict=True
    ):
        by_fft = case.op == "scan" and "T" not in case.tensors["log_decay"].shape
        if form == "chunk" and ("decay_bound" in case.options or (by_fft and DEVICE.type == "cuda")):
            # decays are counted from the middle of a block, so they round with gates to come; so does all of an FFT
            torch.testing.assert_close(after[(*index, seen)], before[(*index, seen)], rtol=1e-12, atol=1e-12)
        else:
            assert torch.equal(before[(*index, seen)], after[(*index, seen)])
        assert not torch.equal(before[(*index, hidden)], after[(*index, hidden)])


PADDING = {
    "anywhere": torch.arange(26) % 3 != 1,
    "ends": (torch.arange(26) >= 4) & (torch.arange(26) < 21),
    "end": torch.arange(26) < 17,
}
MAY_PAD = {"softmax_attention": "ends", "local_global": "end", "gated_conv": "end"}
"""Where padding is as if it were not there: these count places (windows, groups, taps), others skip what is masked."""
KEY_SIDE = ("k", "v", "bias_factors[1]")


@over(
    where=lambda case: (
        takes(case, "mask", "key_mask") and not (case.packed or case.named("mask") or "grid" in case.options)
    ),
    content=lambda case, form: (1e3, math.nan),
)
def test_padding_changes_neither_values_nor_gradients(case: Case, form: str, content: float) -> None:
    real = PADDING[MAY_PAD.get(case.op, "anywhere")].to(DEVICE)
    places = real.nonzero().flatten()
    mask = takes(case, "mask", "key_mask")
    padded_axis = "S" if case.axes("S") else "T"
    alone = case.make(len(places), S=len(places), **heads(form))
    padded, batch = dict(alone), next(iter(alone.values())).shape[0]
    for name, axis in case.axes(padded_axis).items():
        # a mask of keys says nothing of queries, so what comes with them is only strange
        strange = -1.0 if case.tensors[name].kind == "log gate" else 1e3
        behind = content if mask == "mask" or name in KEY_SIDE else strange
        shape = list(alone[name].shape)
        shape[axis] = len(real)
        padded[name] = alone[name].new_full(shape, min(behind, strange)).index_copy(axis, places, alone[name])

    def trimmed(**t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = case(t | {mask: real.expand(batch, -1)}, form)
        if padded_axis == "S":
            return parts
        runs = len(outputs(case, parts))
        return *(t.index_select(case.time_axis, places) for t in parts[:runs]), *parts[runs:]

    got, expected = with_gradients(trimmed, padded), result(case, alone, form)
    for name, axis in case.axes(padded_axis).items():
        gradient = got[f"gradient of {name}"]
        of_padding = gradient.index_select(axis, (~real).nonzero().flatten())
        assert bool((of_padding.abs() <= 1e-10).all()), f"{name}: the padding has a gradient"
        got[f"gradient of {name}"] = gradient.index_select(axis, places)
    assert_same(got, expected)
    if mask == "mask":
        for out in outputs(case, case(padded | {mask: real.expand(batch, -1)}, form)):
            assert not out.index_select(case.time_axis, (~real).nonzero().flatten()).any()


def one_by_one(case: Case, tensors: Tensors, form: str) -> tuple[torch.Tensor, ...]:
    found = []
    for n, (start, stop) in enumerate(itertools.pairwise(tensors["cu_seqlens"].tolist())):
        alone = cut(case, tensors, start, stop)
        alone |= {name: alone[name][n : n + 1] for name in case.named("state")}
        del alone["cu_seqlens"]
        found.append(case(alone, form))
    runs, *states = zip(*found, strict=True)
    return torch.cat(runs, case.time_axis), *(torch.cat(state) for state in states)


@over(where=lambda case: case.packed)
def test_a_packed_row_is_its_sequences_one_by_one(case: Case, form: str) -> None:
    for length in (0, 1, 40) if interpreted(form) else (0, 1, 20, 150):
        x = case.make(length, **heads(form))
        assert_same(result(case, x, form), with_gradients(lambda **t: one_by_one(case, t, form), x))


@over(where=lambda case: not case.packed)
def test_an_item_of_a_batch_is_the_item_alone(case: Case, form: str) -> None:
    x, batched = case.make(33, **heads(form) | {"B": 2}), case.axes("B")

    def item(i: int, tensors: Tensors, names: Any) -> Tensors:
        return {n: t[i : i + 1] if n in names else t for n, t in tensors.items()}

    for whole, alone in zip(case(x, form), case(item(1, x, batched), form), strict=True):
        torch.testing.assert_close(whole[1:], alone, rtol=1e-11, atol=1e-11)
    # gradients of the first item: it has the same weights alone
    whole, alone = result(case, x, form), result(case, item(0, x, batched), form)
    shared = [f"gradient of {name}" for name in x if name not in batched]
    whole, alone = ({n: t for n, t in found.items() if n not in shared} for found in (whole, alone))
    assert_same(item(0, whole, whole), alone, 1e-11)


def of_few_numbers(case: Case, form: str, length: int) -> tuple[Callable[..., tuple[torch.Tensor, ...]], list[Any]]:
    """The op as a function of the leaves that torch's checks of gradients disturb, and the leaves."""
    x = case.make(length, gate=lambda even: -0.1 - 0.5 * even, B=1, H=1, K=2, V=2, D=2, E=2, R=1)
    names = [name for name, t in x.items() if t.is_floating_point()]

    def run(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return case(x | dict(zip(names, leaves, strict=True)), form, **unchecked(case))

    return run, [x[name].clone().requires_grad_() for name in names]


@over()
def test_gradcheck(case: Case, form: str) -> None:
    assert torch.autograd.gradcheck(*of_few_numbers(case, form, 5), fast_mode=True)


# torch's kernel, which gpsa runs on, has no second derivative, and says so
@over("chunk", where=lambda case: case.typical and case.op != "gpsa")
def test_a_gradient_can_be_differentiated(case: Case, form: str) -> None:
    assert torch.autograd.gradgradcheck(*of_few_numbers(case, form, 4), fast_mode=True)


@over("reference", "chunk", where=lambda case: not case.packed)
def test_tensors_without_data_have_the_shapes_of_others(case: Case, form: str) -> None:
    """What counts parameters and operations of a network before anyone has the memory for it."""
    x = case.make(19, dtype=torch.float32)
    expected, got = case(x, form), case({name: t.to("meta") for name, t in x.items()}, form)
    assert [(t.shape, t.dtype) for t in got] == [(t.shape, t.dtype) for t in expected]
    assert all(t.is_meta for t in got)


@over("chunk", where=lambda case: not case.packed)
def test_torch_func_has_the_same_gradients(case: Case, form: str) -> None:
    """``torch.func`` does not follow every operation that has a gradient of its own."""
    x = case.make(19)

    def loss(floats: Tensors) -> torch.Tensor:
        parts = case(x | floats, form, **unchecked(case))
        return sum((part * torch.arange(part.numel()).view(part.shape).to(part).sin()).sum() for part in parts)

    floats = {name: t for name, t in x.items() if t.is_floating_point()}
    leaves = {name: t.clone().requires_grad_() for name, t in floats.items()}
    expected = torch.autograd.grad(loss(leaves), list(leaves.values()), allow_unused=True, materialize_grads=True)
    assert_same(torch.func.grad(loss)(floats), dict(zip(leaves, expected, strict=True)))


@over(*FAST, where=lambda case: case.typical)
def test_compiles_in_one_graph_with_gradients(case: Case, form: str) -> None:
    torch._dynamo.reset()
    x = case.make(19, **heads(form))
    compiled = torch.compile(lambda **t: case(t, form), fullgraph=True, backend="aot_eager")
    assert_same(with_gradients(compiled, x), result(case, x, form))


@pytest.mark.slow
@over("chunk", where=lambda case: case.typical)
def test_a_graph_compiled_for_any_size_has_the_same_gradients(case: Case, form: str) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda **t: case(t, form), fullgraph=True, backend="aot_eager")
    for size in (19, 70):  # the first graph serves its own size, the second any
        x = case.make(size) if case.dynamic == "T" else case.make(19, B=size // 10)
        assert_same(with_gradients(compiled, x), result(case, x, form))


class Net(torch.nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def forward(self, tensors: Tensors) -> tuple[torch.Tensor, ...]:
        return self.case(tensors, "auto")


EXPORTED = [
    # two graphs are those of others with a few operations more, and exporting takes seconds
    case
    for case in CASES
    if case.typical and case.name != "bounded-reverse" and str(case) != "local_global-causal"
]


@pytest.mark.parametrize("case", EXPORTED, ids=str)
def test_exports_with_a_dynamic_size_as_a_graph_of_plain_operations(case: Case) -> None:
    x, open_axes = case.make(19), case.axes(case.dynamic)
    sizes = {name: {open_axes[name]: torch.export.Dim.DYNAMIC} if name in open_axes else None for name in x}
    program = torch.export.export(Net(case), (x,), dynamic_shapes=(sizes,))
    assert not [node for node in program.graph.nodes if "gated" in str(node.target) and node.op == "call_function"]
    for size in (2, 64, 300):
        x = case.make(size) if case.dynamic == "T" else case.make(19, B=size)
        for got, expected in zip(program.module()(x), case(x, "reference"), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


class Recorder(TorchDispatchMode):
    """Keeps the arguments of calls of registered ops, of each kind of call one."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, dict[str, tuple[Any, ...]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "gated":
            assert not kwargs
            kind = str([(t.dim(), t.dtype) if isinstance(t, torch.Tensor) else t for t in args])
            copies = tuple(t.detach().clone() if isinstance(t, torch.Tensor) else t for t in args)
            self.calls.setdefault(func.name(), {}).setdefault(kind, copies)
        return func(*args, **(kwargs or {}))


@cache
def calls_of_registered_ops() -> dict[str, list[tuple[Any, ...]]]:
    """Arguments with which the cases call what is registered, typical cases first, until all of it was seen."""
    with Recorder() as recorder:
        for case in sorted(CASES, key=lambda case: not case.typical):
            for form in FORMS[case.op]:
                if case.typical or not interpreted(form) or not recorder.calls.keys() >= set(REGISTERED):
                    result(case, case.make(5, **heads(form)), form)
    return {name: list(kinds.values()) for name, kinds in recorder.calls.items()}


# torch 2.14's own opcheck looks at .grad of a tensor that is no leaf
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", REGISTERED)
def test_opcheck(name: str) -> None:
    calls = calls_of_registered_ops().get(name)
    assert calls, "no case reaches it"
    differentiable = OPDEFS[name]._backward_fn is not None
    for arguments in calls[: 1 if "triton" in name and DEVICE.type == "cpu" else 4]:
        for t in arguments:
            if differentiable and isinstance(t, torch.Tensor) and t.is_floating_point():
                t.requires_grad_()
        torch.library.opcheck(OPDEFS[name], arguments)


@pytest.mark.parametrize(("op", "form"), [(op, form) for op in FORMS for form in FORMS[op] if form in FAST])
def test_forms_agree_on_anything(op: str, form: str) -> None:
    cases = [case for case in CASES if case.op == op]

    @settings(max_examples=3 if interpreted(form) else 20, deadline=None, derandomize=True)
    @given(
        case=st.sampled_from(cases),
        length=st.integers(0, 40 if interpreted(form) else 150),
        sizes=st.fixed_dictionaries({n: st.integers(1, 3 if n in "BH" else 9) for n in "BHKVDER"}),
        strength=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
        seed=st.integers(0, 999),
    )
    def check(case: Case, length: int, sizes: dict[str, int], strength: float, seed: int) -> None:
        x = case.make(
            length, seed=seed, gate=lambda even: torch.where(even < 0.05, -math.inf, -strength * even), **sizes
        )
        for got, expected in zip(case(x, form), case(x, "reference"), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)

    check()


@over(
    "reference",
    "chunk",
    where=lambda case: takes(case, "dropout") and not case.named("mask") and case.name in ("clip-causal", "causal"),
)
def test_dropout_keeps_the_mean(case: Case, form: str) -> None:
    x = case.make(9, **heads(form))
    plain = case(x, form)
    for got, expected in zip(case(x, form, dropout=0.0), plain, strict=True):
        assert torch.equal(got, expected)
    draws = [case(x, form, dropout=0.5) for _ in range(400)]
    for i, expected in enumerate(plain):
        stack = torch.stack([draw[i] for draw in draws])
        error = (stack.mean(0) - expected).abs() / (stack.std(0) / 20 + 1e-12)
        assert error.max() < 5
        assert not torch.equal(stack[0], stack[1])


@over("triton", where=lambda case: takes(case, "dropout"))
def test_kernels_refuse_dropout_and_name_the_form_that_has_it(case: Case, form: str) -> None:
    with pytest.raises(UserError, match=r"impl='triton'(.|\n)*dropout(.|\n)*impl='chunk'"):
        case(case.make(5, **heads(form)), form, dropout=0.5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_wrong_shapes_are_named(case: Case) -> None:
    # no two sizes alike, so that nothing fits by chance
    x = case.make(7, B=1 if case.packed else 11, H=3, K=5, V=4, D=10, E=9, R=8)
    bound: set[str] = set()
    for name, spec in case.tensors.items():
        wrong = [x[name][None, None]]
        last = spec.shape.split()[-1]
        if last in bound:
            wrong.append(torch.cat((x[name], x[name].narrow(-1 - spec.is_complex, 0, 1)), -1 - spec.is_complex))
        bound |= set(spec.shape.split())
        for t in wrong:
            with pytest.raises(UserError) as error:
                case(x | {name: t}, "auto")
            found = list(t.shape[:-1] if spec.is_complex else t.shape)
            argument = name.partition("[")[0]
            assert argument in error.value.what
            assert "[" in error.value.expected
            assert str(found) in error.value.found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_no_tensor_or_holds_no_numbers_is_named(case: Case) -> None:
    x = case.make(7, **({"B": 1} if case.packed else {}))
    for name, spec in case.tensors.items():
        if spec.is_complex:  # made of real ones by the case
            continue
        argument = name.partition("[")[0]
        with pytest.raises(UserError) as error:
            case(x | {name: x[name].numpy(force=True)}, "auto")
        assert argument in error.value.what
        assert "no tensor" in error.value.what
        assert "[" in error.value.expected
        assert error.value.found == "ndarray"
        with pytest.raises(UserError) as error:
            case(x | {name: x[name].to(torch.int8)}, "auto")
        assert argument in error.value.what
        assert "wrong dtype" in error.value.what
        assert "int8" in error.value.found


@over("reference", "chunk", where=lambda case: case.axes("H"))
def test_no_heads_at_all_give_nothing(case: Case, form: str) -> None:
    """torch's own kernel kills the process."""
    x = case.make(37, **({"B": 1} if case.packed else {}) | {"H": 0})
    got = result(case, x, form)
    assert not any(t.numel() for t in got.values() if t.shape in {part.shape for part in case(x, form)})


@pytest.mark.parametrize("op", ops.list_ops())
def test_what_is_no_number_is_named(op: str) -> None:
    case = next(case for case in CASES if case.op == op)
    numbers = ("int", "float", "int | None", "float | None")
    for name, parameter in inspect.signature(getattr(ops, op)).parameters.items():
        if parameter.annotation in numbers:
            with pytest.raises(UserError, match=rf"{op}: {name} is no number(.|\n)*a number(.|\n)*str 'much'"):
                case(case.make(5), "auto", **{name: "much"})


@over("chunk", axis=lambda case, form: [axis for axis in "KVD" if case.axes(axis)])
def test_no_channels_at_all_are_no_different(case: Case, form: str, axis: str) -> None:
    x = case.make(37, **{axis: 0})
    assert_same(result(case, x, form), result(case, x, "reference"))


@pytest.mark.parametrize("case", [case for case in CASES if case.named("mask", "log gate")], ids=str)
def test_wrong_masks_and_gates_are_named(case: Case) -> None:
    x = case.make(7)
    for name in case.named("mask"):
        with pytest.raises(UserError, match=rf"{name} has the wrong dtype(.|\n)*torch.bool(.|\n)*torch.float32"):
            case(x | {name: x[name].float()}, "auto")
    for name in case.named("log gate"):
        growing = x | {name: torch.full_like(x[name], 0.5)}
        with pytest.raises(UserError, match=rf"{name.partition('[')[0]} (.|\n)*<= 0(.|\n)*0\.5"):
            case(growing, "auto")
        case(growing, "auto", check=False)


@pytest.mark.parametrize("op", ops.list_ops())
def test_a_form_that_cannot_run_is_refused_and_nothing_else_runs_instead(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in CASES if case.op == op)
    x = case.make(5)
    with pytest.raises(UserError, match=f"{op}: unknown impl 'chunks'(.|\n)*did you mean 'chunk'"):
        case(x, "chunks")
    monkeypatch.setattr(_op, "_INSTALLED", False)
    reason = "triton is not installed" if "triton" in declared(op).forms else "no triton form"
    with pytest.raises(UserError, match=f"cannot run here(.|\n)*{reason}(.|\n)*impl='reference' or impl='chunk'"):
        case(x, "triton")
