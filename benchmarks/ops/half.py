"""How much faster the recurrences could be for bf16 inputs on a CPU that multiplies bf16, on any CPU.

    .venv-bench/bin/python -m benchmarks.ops.half

Such a CPU rounds the factors of a product to bf16 and sums in fp32. Here that is done to one product after the other (a
line of the form's code each), to see whether outputs, states and all gradients stay within the error budget: twice the
errors of the loop over tokens on the same bf16 inputs, and a unit in the last place. Gates and states are fp32, and so
is what the budget allows them. Those that do are then rounded together.

The form is timed too, and each product in it. If the products that may be rounded took no time at all, the rest would
still have to be done: that is the most that could be gained.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
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
    torch.ops.aten.linalg_solve_triangular.default: slice(0, 2),
}
"""Each with the places of its factors."""
ROUNDS = 15


class Watched(TorchDispatchMode):
    """Adds up the seconds of products by the line that asked for them, and rounds the factors of some lines."""

    def __init__(self, *rounded: str) -> None:
        super().__init__()
        self.rounded = rounded
        self.seconds: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in PRODUCTS:
            return func(*args, **(kwargs or {}))
        line, args = _line(), list(args)
        if line in self.rounded:
            args[PRODUCTS[func]] = [x.bfloat16().to(x.dtype) for x in args[PRODUCTS[func]]]
        start = time.process_time()
        result = func(*args, **(kwargs or {}))
        self.seconds[line] += time.process_time() - start
        return result


def _line() -> str:
    frame: Any = sys._getframe(2)
    while Path(frame.f_code.co_filename).name == "_products.py" or "/gated/core/ops/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


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


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    for row in (row for row in ROWS if row.needs_bf16):
        call = FORMS[row.op, row.form].make(row.size)
        call()
        shares = []
        for _ in range(ROUNDS):  # in turns, and each beside its own neighbour: the machine is not always as fast
            (own,), _ = medians([call], least=1, seconds=0.0)
            with Watched() as watched:
                call()
            shares.append({line: seconds / own.total for line, seconds in watched.seconds.items()})
        share = Counter({line: statistics.median(each[line] for each in shares) for line in shares[0]})
        function, tensors = drawn(row.op)
        bounds = oracle(function, tensors)

        def used(*lines: str) -> float:
            with Watched(*lines):
                return budget(with_gradients(function, tensors), *bounds)  # noqa: B023

        print(f"{row.op}, {row.form}, {row.size}: {used():.2f} of the error budget")
        allowed = []
        for line, part in share.most_common():
            print(f"  {line:16} {part:.3f} of the time, {used(line):.2f} of the budget if rounded")
            allowed += [line] if used(line) <= 1 else []
        products, spared = (sum(share[line] for line in lines) for lines in (share, allowed))
        print(
            f"  products {products:.2f} of the time, those that may be rounded {spared:.2f} "
            f"(together {used(*allowed):.2f} of the budget): at most {1 / (1 - spared):.2f} times as fast"
        )


if __name__ == "__main__":
    main()
