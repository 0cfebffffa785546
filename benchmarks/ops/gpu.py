"""Time the Triton forms on a GPU beside the chunk form on the same GPU and torch's fused attention.

    .venv-bench/bin/python -m benchmarks.ops.gpu

writes ``benchmarks/results/ops_gpu.csv``; ``benchmarks.ops.render`` puts it into docs/ops.md. ``--only`` prints and
writes nothing, as it does for ``benchmarks.ops.bench``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from triton.testing import do_bench

from benchmarks.ops.aot import with_kernels
from benchmarks.ops.forms import COMPILED, FORMS, Size
from benchmarks.ops.peers import attention
from benchmarks.ops.results import FOLDER, GpuLine, write
from benchmarks.ops.timing import Call, difference

LONG, VIT = Size(4, 8, 4096, 64), Size(64, 6, 196, 64)
HALF = {"local_global": 5, "scan": 1}
"""How many of the first arguments are given in half precision, where not three (queries, keys and values)."""


def measure(op: str, form: str, size: Size, dtype: torch.dtype) -> GpuLine:
    ours = FORMS[op, form].make(size)
    count = HALF.get(op, 3)
    given = [t.detach().to(dtype) if i < count else t.detach() for i, t in enumerate(ours.tensors)]
    ours = Call(ours.function, [t.requires_grad_() for t in given])
    chunk = Call(partial(ours.function, impl="chunk"), ours.tensors)
    off = difference(ours(), chunk())
    fused = None if op == "scan" else attention(ours, causal=op not in ("gpsa", "local_global"))
    return GpuLine(
        gpu=torch.cuda.get_device_name(0),
        op=op,
        form=form,
        size=str(size),
        dtype=str(dtype).removeprefix("torch."),
        forward_ms=_three(_median(lambda: _forward(ours))),
        ms=_three(_median(ours)),
        chunk_ms=_three(_median(chunk)),
        attention_ms="" if fused is None else _three(_median(fused)),
        mib=f"{_peak(ours):.0f}",
        chunk_mib=f"{_peak(chunk):.0f}",
        difference=f"{off:.1e}",
    )


def _forward(call: Call) -> None:
    with torch.no_grad():
        call.function(*call.tensors)


def _median(call: Callable[[], object]) -> float:
    """Milliseconds of the GPU, with its cache emptied before each run; where Python is slower, of Python."""
    return float(do_bench(call, warmup=20, rep=80, return_mode="median"))


def _peak(call: Callable[[], object]) -> float:
    """MiB that a call takes above what was there before."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _three(x: float) -> str:
    return f"{x:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    parser.add_argument("--only", default="", help="rows that hold this text; nothing is written")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no GPU here: benchmarks.ops.bench times the chunk forms on a CPU")
    torch.set_default_device("cuda")
    torch.manual_seed(0)
    lines = []
    for op, form in FORMS:
        if op not in with_kernels() or form.endswith((COMPILED, "bf16")):
            continue
        for size in (VIT,) if op == "gpsa" else (LONG,) if op in ("scan", "local_global") else (LONG, VIT):
            for dtype in (torch.float32,) if form == "complex" else (torch.float32, torch.bfloat16):
                name = f"{op}, {form}, {size}, {dtype}"
                if options.only not in name:
                    continue
                line = measure(op, form, size, dtype)
                lines.append(line)
                print(
                    f"{name}: {line.ms} ms ({line.forward_ms} forward), chunk {line.chunk_ms}, attention "
                    f"{line.attention_ms}; {line.mib} MiB, chunk {line.chunk_mib}; differs by {line.difference}",
                    flush=True,
                )
    if not options.only:
        write(options.out, lines)


if __name__ == "__main__":
    main()
