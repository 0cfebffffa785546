"""The one door through which kernels start: they run on a GPU, are interpreted, or are only written down.

Every kernel has one configuration, chosen from head dimensions alone: nothing is tuned at run time, so a first call
costs one compilation and a new length or batch costs none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton

from gated.core.ops import _op

_POINTERS = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.bool: "*i1",
}


@dataclass(frozen=True)
class Launch:
    """What a compiler needs to know of a launch, without a GPU and without the data.

    Attributes:
        kernel: the ``triton.jit`` function.
        signature: argument name -> type, ``"constexpr"`` for those fixed at compile time.
        constants: values of the latter.
        num_warps: warps a program.
        num_stages: stages of software pipelining.
    """

    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    num_warps: int
    num_stages: int


_written: list[Launch] | None = None


def launch(
    kernel: Any, programs: tuple[int, ...], *arguments: Any, num_warps: int = 4, num_stages: int = 2, **constants: Any
) -> None:
    """Start ``programs`` of ``kernel``, or none if that is a grid of zero.

    Args:
        kernel: a ``triton.jit`` function.
        programs: size of the grid, the first axis at most ``2^31 - 1``, the others 65,535.
        arguments: contiguous tensors and numbers; None stands for a tensor that the constants say is not read.
        num_warps: warps a program.
        num_stages: stages of software pipelining.
        constants: ``tl.constexpr`` arguments.
    """
    if _written is not None:
        names = dict(zip(kernel.arg_names, arguments, strict=False))
        absent = {name: None for name, value in names.items() if value is None}
        types = {n: "constexpr" if n in absent or n in constants else _type(names[n]) for n in kernel.arg_names}
        _written.append(Launch(kernel, types, {**absent, **constants}, num_warps, num_stages))
    elif 0 not in programs:
        device = next(x.device for x in arguments if isinstance(x, torch.Tensor))
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            kernel[programs](*arguments, **constants, num_warps=num_warps, num_stages=num_stages)


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return _POINTERS[value.dtype]
    return "i32" if isinstance(value, int) else "fp32"


@contextlib.contextmanager
def written_down() -> Iterator[list[Launch]]:
    """Collect the launches of the calls inside, which may be on any device and compute nothing.

    A compiler can then be run for a GPU that is not there (``benchmarks/ops/aot.py``) on just what an op would start.
    """
    global _written
    _written, _op.kernels_run_anywhere = [], True
    try:
        yield _written
    finally:
        _written, _op.kernels_run_anywhere = None, False


def block(size: int, largest: int) -> int:
    """The power of two that holds ``size``, between 16 (the least that a matrix product takes) and ``largest``."""
    return max(16, min(largest, triton.next_power_of_2(size)))


def precision(*inputs: torch.Tensor) -> str:
    """How products round: as fp32 does, or as tf32 if one of ``inputs``, all that goes into them, is in half precision.

    Half precision holds no more digits than tf32 does. For fp32, three products in tf32 make one as good as its own on
    NVIDIA's tensor cores; AMD's have fp32. Recurrences give no inputs: their states and gates are in fp32.
    """
    if any(x.dtype in (torch.float16, torch.bfloat16) for x in inputs):
        return "tf32"
    return "ieee" if torch.version.hip else "tf32x3"
