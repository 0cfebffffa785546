"""How much faster the recurrences could be for bf16 inputs on a CPU that multiplies bf16, on any CPU.

    .venv-bench/bin/python -m benchmarks.ops.half

Such a CPU rounds the factors of a product to bf16 and sums in fp32. Here that is done to one product after the other (a
line of the form's code each), to see whether outputs, states and all gradients stay within the error budget: twice the
errors of the loop over tokens on the same bf16 inputs, and a unit in the last place. Gates and states are fp32, and so
is what the budget allows them.

Then the form is timed with the products that passed left out. Of each, two things stay, which no such CPU is spared:
the call, and to round the factors that are not inputs, once a step (to fp16, for which this CPU has an instruction).
The time of the fp32 form beside that is the most that could be gained, of a CPU whose fp32 products are no faster than
this one's. What the roundings have in it is shown by leaving them out too.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.ops.forms import FORMS
from benchmarks.ops.rows import ROWS
from benchmarks.ops.timing import medians
from gated.core.ops import delta_recurrence, linear_recurrence
from gated.core.testing import Named, with_gradients
from gated.engine.allocator import keep_freed_memory

PRODUCTS = {
    torch.ops.aten.bmm.default: slice(0, 2),
    torch.ops.aten.bmm.out: slice(0, 2),
    torch.ops.aten.baddbmm.default: slice(1, 3),
    torch.ops.aten.baddbmm_.default: slice(1, 3),
}
"""Each with the places of its factors."""
INPUTS = ("q", "k", "v", "d_out")
"""What steps call the tensors that come in bf16."""
ROUNDS = 15


class Watched(TorchDispatchMode):
    """Notes the lines that ask for products, and rounds the factors of some."""

    def __init__(self, *rounded: str) -> None:
        super().__init__()
        self.rounded = rounded
        self.lines: dict[str, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in PRODUCTS:
            return func(*args, **(kwargs or {}))
        line, args = _line(_step(2)), list(args)
        if line in self.rounded:
            args[PRODUCTS[func]] = [x.bfloat16().to(x.dtype) for x in args[PRODUCTS[func]]]
        self.lines[line] = None
        return func(*args, **(kwargs or {}))


def _step(depth: int) -> FrameType:
    """The frame of an op's code that asks for a product."""
    frame: Any = sys._getframe(depth + 1)
    while Path(frame.f_code.co_filename).name == "_products.py" or "/gated/core/ops/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame


def _line(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


class Roundings:
    """Of the factors of products that are left out.

    A factor is known by its place in memory. What takes the place of one that is gone is not rounded: of what could be
    gained, rather too much is promised than too little.
    """

    def __init__(self) -> None:
        self.code: CodeType | None = None
        self.first: dict[CodeType, int] = {}
        self.done: set[int] = set()

    def __call__(self, step: FrameType, factors: tuple[torch.Tensor, ...]) -> None:
        """Round ``factors`` that are neither inputs nor were rounded in this step."""
        code = step.f_code
        if code is not self.code or step.f_lineno == self.first[code]:
            self.code = code
            self.first.setdefault(code, step.f_lineno)
            names = step.f_locals
            self.done = {names[name].untyped_storage().data_ptr() for name in INPUTS if name in names}
        for x in factors:
            if x.data_ptr() not in self.done and x.untyped_storage().data_ptr() not in self.done:
                x.half()
                self.done.add(x.data_ptr())


@contextmanager
def left_out(lines: Collection[str], *, rounding: bool = True) -> Iterator[None]:
    """Call the products of ``lines`` in vain: their results stay as they lie in memory.

    Args:
        lines: as :class:`Watched` notes them; of none, all that is spent is what it takes to look who calls.
        rounding: whether to round the factors.
    """
    roundings, bmm, baddbmm, baddbmm_ = Roundings(), torch.bmm, torch.baddbmm, torch.Tensor.baddbmm_

    def replaced(product: Callable[..., torch.Tensor], factors: slice, room: Callable[..., Any]) -> Any:
        @wraps(product)
        def called(*args: Any, **kwargs: Any) -> Any:
            step = _step(1)
            if _line(step) not in lines:
                return product(*args, **kwargs)
            a, b = args[factors]
            if rounding:
                roundings(step, (a, b))
            return room(args[0], (a.shape[0], a.shape[1], b.shape[2]), **kwargs)

        return called

    def new(first: torch.Tensor, shape: tuple[int, ...], *, out: Any = None, **_: Any) -> Any:
        return first.new_empty(shape) if out is None else out

    torch.bmm = replaced(bmm, slice(0, 2), new)
    torch.baddbmm = replaced(baddbmm, slice(1, 3), new)
    torch.Tensor.baddbmm_ = replaced(baddbmm_, slice(1, 3), lambda first, *_, **__: first)  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.bmm, torch.baddbmm, torch.Tensor.baddbmm_ = bmm, baddbmm, baddbmm_  # type: ignore[method-assign]


def drawn(op: str, heads: int = 8, length: int = 197) -> tuple[Callable[..., Any], dict[str, torch.Tensor]]:
    """The op as it is timed, with its state, and arguments."""
    q, k, v = torch.randn(3, 1, heads, length, 64)
    gate = -torch.rand(1, heads, length, 64)
    if op == "linear_recurrence":
        more = {"log_decay": gate}
        call = partial(linear_recurrence, decay_bound=-5.0, return_state=True)
    else:
        k = F.normalize(k, dim=-1)
        more = {"beta": torch.rand(1, heads, length), "log_decay": gate[..., 0]}
        call = partial(delta_recurrence, return_state=True)
    return call, {"q": q.bfloat16(), "k": k.bfloat16(), "v": v.bfloat16(), **more}


def oracle(call: Callable[..., Any], tensors: dict[str, torch.Tensor]) -> tuple[Named, Named]:
    """What the loop over tokens gives, and what it gives in double precision."""
    loop = partial(call, impl="reference")
    return with_gradients(loop, tensors), with_gradients(loop, {name: t.double() for name, t in tensors.items()})


def budget(got: Named, reference: Named, exact: Named) -> float:
    """The largest share that an error has of what is allowed to it (see ``gated.core.testing``)."""
    shares = []
    for name, right in exact.items():
        own, loop = ((x[name].double() - right).square().mean().sqrt() for x in (got, reference))
        allowed = 2 * loop + torch.finfo(got[name].dtype).eps * right.square().mean().sqrt()
        shares.append(float(own / allowed))
    return max(shares)


def bounds(op: str, form: str, size: Any, lines: Collection[str]) -> tuple[float, float]:
    """How many times as fast as in fp32 the form is without the products of ``lines``, and without roundings too."""
    fp32, bf16 = (FORMS[op, each].make(size) for each in (form.removesuffix(", bf16"), form))

    def without(lines: Collection[str], rounding: bool) -> None:
        with left_out(lines, rounding=rounding):
            bf16()

    calls = (fp32, bf16, partial(without, (), False), partial(without, lines, True), partial(without, lines, False))
    ratios = []
    for _ in range(ROUNDS):  # each beside its own neighbours: the machine is not always as fast
        whole, plain, looked, *parts = (spent.total for spent in medians(calls, least=1, seconds=0.0)[0])
        ratios.append([whole / (part - (looked - plain)) for part in parts])
    rounded, bare = map(statistics.median, zip(*ratios, strict=True))
    return rounded, bare


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # what lies in memory may be one
    torch.manual_seed(0)
    keep_freed_memory()
    for row in (row for row in ROWS if row.needs_bf16):
        function, tensors = drawn(row.op)
        exact = oracle(function, tensors)

        def used(*lines: str) -> float:
            with Watched(*lines) as watched:
                share = budget(with_gradients(function, tensors), *exact)  # noqa: B023
            found.update(watched.lines)  # noqa: B023
            return share

        found: dict[str, None] = {}
        print(f"{row.op}, {row.form}, {row.size}: {used():.2f} of the error budget")
        shares = {line: used(line) for line in found}
        for line, share in shares.items():
            print(f"  {line:16} {share:.2f} of the budget if rounded")
        allowed = [line for line, share in shares.items() if share <= 1]
        rounded, bare = bounds(row.op, row.form, row.size, allowed)
        print(
            f"  those that may be rounded take {used(*allowed):.2f} of the budget together; without them the form is "
            f"{rounded:.2f} times as fast as in fp32, and {bare:.2f} times without the roundings"
        )


if __name__ == "__main__":
    main()
