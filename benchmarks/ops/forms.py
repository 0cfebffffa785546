"""The ops that are timed: each form makes its own inputs of a given size, and counts the work of its definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import isqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F

from benchmarks.ops.timing import Call
from gated.core.ops import (
    delta_recurrence,
    gated_conv,
    gpsa,
    linear_recurrence,
    local_global,
    scan,
    softmax_attention,
)
from gated.core.ops._op import Impl
from gated.core.ops._recurrence import Recurrence


class Size(NamedTuple):
    """``[B, H, T, D]`` of queries, keys and values."""

    batch: int
    heads: int
    length: int
    width: int

    def __str__(self) -> str:
        return "B{} H{} T{} D{}".format(*self)


@dataclass(frozen=True)
class Form:
    """An op with its options.

    Attributes:
        make: its call on random inputs of a size.
        flops: additions and multiplications of its definition, forward and backward (docs/ops.md has the formulas).
    """

    make: Callable[[Size], Call]
    flops: Callable[[Size], float]


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype).requires_grad_()


def uniform(*shape: int, edge: float = 1.0) -> torch.Tensor:
    """Between 0 and ``edge``."""
    return torch.rand(shape).mul_(edge).requires_grad_()


def recurrence(
    size: Size, *, gate: str | None, bound: float | None = None, delta: bool = False, half: bool = False
) -> Call:
    batch, heads, length, width = size
    q, k, v = normal(*size), normal(*size), normal(*size)
    if delta:
        k = F.normalize(k.detach(), dim=-1).requires_grad_()
    if half:
        q, k, v = (t.detach().bfloat16().requires_grad_() for t in (q, k, v))
    more = [uniform(batch, heads, length)] if delta else []
    if gate is not None:
        more.append(uniform(batch, heads, length, *([width] if gate == "channel" else []), edge=-1.0))
    op: Callable[..., Recurrence] = delta_recurrence if delta else linear_recurrence

    def function(*tensors: torch.Tensor, impl: Impl = "auto") -> torch.Tensor:
        return op(*tensors, decay_bound=bound, impl=impl).output

    return Call(function, [q, k, v, *more])


def forgetting(size: Size) -> Call:
    def function(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, log_forget: torch.Tensor, impl: Impl = "auto"
    ) -> torch.Tensor:
        return softmax_attention(q, k, v, causal=True, log_forget=log_forget, impl=impl)

    return Call(function, [normal(*size), normal(*size), normal(*size), uniform(*size[:3], edge=-0.1)])


def grid_attention(size: Size) -> Call:
    side = isqrt(size.length)
    function = partial(gpsa, grid=(side, side))
    return Call(function, [normal(*size), normal(*size), normal(*size), normal(size.heads, 3), normal(size.heads)])


def grouped(size: Size) -> Call:
    def function(
        q: torch.Tensor,
        k: torch.Tensor,
        q_global: torch.Tensor,
        k_global: torch.Tensor,
        v: torch.Tensor,
        impl: Impl = "auto",
    ) -> torch.Tensor:
        return local_global(q, k, q_global, k_global, (v,), impl=impl)[0]

    return Call(function, [normal(*size) for _ in range(5)])


def moving(size: Size, *, constant: bool = False, dtype: torch.dtype = torch.float32) -> Call:
    shape = (size.heads, size.width) if constant else tuple(size)
    gate = uniform(*shape, edge=-1.0)
    if dtype.is_complex:
        gate = torch.complex(gate.detach(), torch.randn(shape)).requires_grad_()

    def function(x: torch.Tensor, log_decay: torch.Tensor, impl: Impl = "auto") -> torch.Tensor:
        return scan(x, log_decay, impl=impl).output

    return Call(function, [normal(*size, dtype=dtype), gate])


def widths_of(size: Size, order: int) -> list[int]:
    """Channels of each step of a gated convolution that ends with those of ``size``."""
    return [size.width // 2 ** (order - 1 - k) for k in range(order)]


def convolved(size: Size, *, order: int, kernel: int) -> Call:
    side, widths = isqrt(size.length), widths_of(size, order)

    def function(
        x: torch.Tensor, context: torch.Tensor, weight: torch.Tensor, *mixes: torch.Tensor, impl: Impl = "auto"
    ) -> torch.Tensor:
        return gated_conv(x, context, weight, mixes=mixes, grid=(side, side), scale=1 / 3, impl=impl).output

    tokens = [normal(size.batch, size.length, channels) for channels in (widths[0], sum(widths))]
    return Call(function, [*tokens, normal(sum(widths), kernel, kernel), *map(normal, widths[1:], widths)])


def linear_flops(size: Size) -> float:
    """Two products with the state a token, three times with the backward pass."""
    return 3.0 * 4 * size.batch * size.heads * size.length * size.width**2


def delta_flops(size: Size) -> float:
    return 1.5 * linear_flops(size)


def attention_flops(size: Size, *, causal: bool) -> float:
    """Two products forward, five backward, as FlashAttention counts them."""
    return 14.0 * size.batch * size.heads * size.length**2 * size.width / (2 if causal else 1)


def gpsa_flops(size: Size) -> float:
    positions = 3 * 2 * size.batch * size.heads * size.length * 2 * isqrt(size.length) * size.width
    return attention_flops(size, causal=False) + positions


def grouped_flops(size: Size, group: int = 256) -> float:
    local = 3.0 * 4 * size.batch * size.heads * size.length * group * size.width
    return local + linear_flops(size)


def convolved_flops(size: Size, *, order: int, kernel: int) -> float:
    """A product and a sum a tap, and the maps between the steps, three times with the backward pass."""
    widths = widths_of(size, order)
    maps = sum(a * b for a, b in pairwise(widths))
    return 3.0 * 2 * size.batch * size.length * (kernel**2 * sum(widths) + maps)


def scan_flops(size: Size, *, complex_: bool = False) -> float:
    """A product and a sum a step, three times with the backward pass; complex ones are six and two."""
    return 3.0 * (8 if complex_ else 2) * size.batch * size.heads * size.length * size.width


def compiled(make: Callable[[Size], Call], size: Size) -> Call:
    call = make(size)
    return replace(call, function=torch.compile(call.function, dynamic=False))


COMPILED = ", compiled"
EXACT, BOUNDED, HEAD = "per channel, exact", "per channel, bounded by -5", "per head"
FORMS = {
    ("linear_recurrence", "no decay"): Form(partial(recurrence, gate=None), linear_flops),
    ("linear_recurrence", HEAD): Form(partial(recurrence, gate="head"), linear_flops),
    ("linear_recurrence", EXACT): Form(partial(recurrence, gate="channel"), linear_flops),
    ("linear_recurrence", BOUNDED): Form(partial(recurrence, gate="channel", bound=-5.0), linear_flops),
    ("linear_recurrence", f"{BOUNDED}, bf16"): Form(
        partial(recurrence, gate="channel", bound=-5.0, half=True), linear_flops
    ),
    ("delta_recurrence", HEAD): Form(partial(recurrence, gate="head", delta=True), delta_flops),
    ("delta_recurrence", EXACT): Form(partial(recurrence, gate="channel", delta=True), delta_flops),
    ("delta_recurrence", BOUNDED): Form(partial(recurrence, gate="channel", bound=-5.0, delta=True), delta_flops),
    ("delta_recurrence", f"{HEAD}, bf16"): Form(partial(recurrence, gate="head", delta=True, half=True), delta_flops),
    ("softmax_attention", "causal forget gate"): Form(forgetting, partial(attention_flops, causal=True)),
    ("gpsa", "grid"): Form(grid_attention, gpsa_flops),
    ("local_global", "groups of 256"): Form(grouped, grouped_flops),
    **{
        ("gated_conv", f"order {order}, {kernel} x {kernel}"): Form(
            partial(convolved, order=order, kernel=kernel), partial(convolved_flops, order=order, kernel=kernel)
        )
        for order, kernel in ((3, 7), (1, 31))
    },
    ("scan", "per channel"): Form(moving, scan_flops),
    ("scan", "constant"): Form(partial(moving, constant=True), scan_flops),
    ("scan", "complex"): Form(partial(moving, dtype=torch.complex64), partial(scan_flops, complex_=True)),
}
FORMS |= {
    (op, form + COMPILED): Form(partial(compiled, FORMS[op, form].make), FORMS[op, form].flops)
    for op, form in (("linear_recurrence", BOUNDED), ("delta_recurrence", HEAD), ("gpsa", "grid"))
}
