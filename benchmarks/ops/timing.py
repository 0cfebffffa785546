"""Medians of interleaved runs in process time, agreement of two calls, and the ceilings of the machine."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch


@dataclass(frozen=True)
class Call:
    """A function with its arguments, all of which are differentiated; calling it runs forward and backward.

    Attributes:
        function: tensors to one tensor.
        tensors: leaves that require gradients.
    """

    function: Callable[..., torch.Tensor]
    tensors: Sequence[torch.Tensor]

    def __call__(self) -> list[torch.Tensor]:
        """Return the output and, of half its squared length, the gradient of every tensor."""
        output = self.function(*self.tensors)
        return [output.detach(), *torch.autograd.grad(output, self.tensors, output.detach())]

    @property
    def bytes_moved(self) -> int:
        """Arguments and output, each with its gradient, read or written once."""
        with torch.no_grad():
            output = self.function(*self.tensors)
        return 2 * sum(t.numel() * t.element_size() for t in (output, *self.tensors))

    def keeps_square(self, size: int) -> bool:
        """Whether a tensor with two axes of ``size`` is kept for backward."""
        shapes: list[torch.Size] = []

        def pack(t: torch.Tensor) -> torch.Tensor:
            shapes.append(t.shape)
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            self.function(*self.tensors)
        return any(shape.count(size) >= 2 for shape in shapes)


class Spent(NamedTuple):
    """Seconds of process time, and how many of them the kernel took (to hand out memory, for the most part)."""

    total: float
    system: float


def medians(calls: Sequence[Callable[[], object]], *, least: int, seconds: float) -> tuple[list[Spent], int]:
    """Run the calls in turn, round after round, and return the median time of each and the number of rounds.

    Args:
        calls: they take turns, so that a slow spell of the machine meets them all.
        least: rounds at least; more (50 at most) until ``seconds`` are spent, for the sake of short calls.
        seconds: see above.
    """
    runs: list[list[Spent]] = [[] for _ in calls]
    used = 0.0
    while len(runs[0]) < least or (len(runs[0]) < 50 and used < seconds):
        for call, own in zip(calls, runs, strict=True):
            own.append(_run(call))
            used += own[-1].total
    return [Spent(*map(statistics.median, zip(*own, strict=True))) for own in runs], len(runs[0])


def multiple(call: Callable[[], object], unit: Callable[[], object], count: int, *, rounds: int) -> tuple[float, float]:
    """Return how long ``call`` takes in runs of ``unit``, and how many seconds of it the kernel takes, as medians.

    Args:
        call: a long one, as long as a slow spell of the machine may be.
        unit: a short one.
        count: runs of ``unit`` to compare with, two or more, half of them right before ``call`` and half right after.
        rounds: how often.
    """
    ratios, system = [], []
    for _ in range(rounds):
        before = [_run(unit).total for _ in range(count // 2)]
        own = _run(call)
        after = [_run(unit).total for _ in range(count - count // 2)]
        ratios.append(own.total / statistics.mean(before + after))
        system.append(own.system)
    return statistics.median(ratios), statistics.median(system)


def _run(call: Callable[[], object]) -> Spent:
    # not the wall clock: another process on the machine must not count
    total, system = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_stime
    call()
    return Spent(time.process_time() - total, resource.getrusage(resource.RUSAGE_SELF).ru_stime - system)


def difference(got: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Largest difference of two results, each tensor relative to the largest value of the expected one."""
    pairs = zip(got, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in pairs)


def matmul_ceiling(size: int) -> float:
    """Best of 5 fp32 products of two square matrices, in GFLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2e-9 * size**3 / _best(lambda: a @ b)


def copy_ceiling(megabytes: int) -> float:
    """Best of 5 copies of a tensor larger than any cache, in GB/s, reading and writing counted."""
    source = torch.ones(megabytes * 2**18)
    target = torch.empty_like(source)
    return 2e-9 * source.numel() * source.element_size() / _best(lambda: target.copy_(source))


def _best(call: Callable[[], object]) -> float:
    return min([_run(call).total for _ in range(6)][1:])  # the first one warms up
