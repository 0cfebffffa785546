"""Every kernel of every op, compiled for GPUs that are not here: shared memory, registers and spills.

Command: TRITON_INTERPRET=0 python benchmarks/ops/aot.py [--quick] [-o benchmarks/ops/aot.csv]

Each op is called forward and backward with its options; what it would launch is written down and compiled for each
architecture. Exit code 1 if a kernel needs more shared memory than there is, or spills registers on sm_90 (but in
double precision, which is there to be exact).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gated.core import ops
from gated.core.ops._triton import Launch, written_down

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_120": GPUTarget("cuda", 120, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED = {"sm_80": 166_912, "sm_90": 232_448, "sm_120": 101_376, "gfx942": 65_536}
"""Bytes that one program may take (CUDA programming guide, table of compute capabilities; CDNA 3 ISA)."""
COLUMNS = ("op", "kernel", "dtype", "width", "variant", "target", "shared", "registers", "spills")


def calls(op: str, dtype: torch.dtype, width: int):
    """Yield the options of ``op`` that choose different kernels, each as ``(tensors to differentiate, function)``."""

    def x(*shape, kind=dtype):
        return torch.zeros(*shape, dtype=kind).requires_grad_()

    tokens = (1, 2, 128)
    q, k, v = (x(*tokens, width) for _ in "qkv")
    head, channel, beta = (x(*tokens, *size, kind=torch.float32) for size in ((), (width,), ()))
    function = getattr(ops, op)
    if op == "linear_recurrence":
        for gate in (None, head, channel):
            yield (q, k, v, *([] if gate is None else [gate])), lambda g=gate: function(q, k, v, g, impl="triton")[0]
    elif op == "delta_recurrence":
        for gate in (None, head, channel):
            tensors = (q, k, v, beta, *([] if gate is None else [gate]))
            yield tensors, lambda g=gate: function(q, k, v, beta, g, impl="triton")[0]
    elif op == "scan":
        yield (v, channel), lambda: function(v, channel, impl="triton")[0]
        turning = x(*tokens, width, kind=torch.complex64)
        yield (v, turning), lambda: torch.view_as_real(function(v, turning, impl="triton")[0])
    elif op == "softmax_attention":
        pair = (head, head)
        packs = torch.tensor([0, 30, 128])
        for options in (
            {},
            {"causal": True, "log_forget": head},
            {"log_forget": pair, "key_mask": torch.ones(1, 128, dtype=torch.bool)},
            {"clip": 1.0, "window": 32},
            {"signed": True, "causal": True, "cu_seqlens": packs},
        ):
            gates = [head] if "log_forget" in options else []
            yield (q, k, v, *gates), lambda o=options: function(q, k, v, **o, impl="triton")
    elif op == "gpsa":
        position, gate = x(2, 3), x(2)
        yield (q, k, v, position, gate), lambda: function(q, k, v, position, gate, grid=(8, 16), impl="triton")
    elif op == "local_global":
        for causal in (False, True):
            yield (q, k, v), lambda c=causal: function(q, k, q, k, (v,), causal=c, impl="triton")[0]
    else:
        raise SystemExit(f"{op} has a Triton form but no calls in {__file__}: add its options here")


def with_kernels() -> list[str]:
    """Return the names of the ops that have kernels."""
    return [op for op in ops.list_ops() if "triton" in import_module(f"gated.core.ops.{op}.api").OP.forms]


def launches(names: list[str], quick: bool) -> dict[tuple[str, str, int, str, str], Launch]:
    """Return every different launch by op (the first that has it), dtype, width, kernel and variant."""
    found, known = {}, set()
    for op in names:
        for dtype, width in SIZES[2:3] if quick else SIZES:
            for tensors, function in calls(op, dtype, width):
                with written_down() as written:
                    out = function()
                    torch.autograd.grad(out, tensors, torch.zeros_like(out), allow_unused=True)
                for launch in written:
                    assert isinstance(launch.kernel, triton.JITFunction), "a kernel has one configuration, no tuning"
                    variant = " ".join(f"{k}={v}" for k, v in launch.constants.items() if isinstance(v, str | bool))
                    variant += " " + ",".join(t.strip("*") for t in launch.signature.values() if t.startswith("*"))
                    key = str(dtype).removeprefix("torch."), width, launch.kernel.fn.__name__, variant
                    if key not in known:
                        known.add(key)
                        found[op, *key] = launch
    return found


DOUBLE = torch.float64, 16
"""What ``gradcheck`` and the tests take on a GPU."""
SIZES = (*((dtype, width) for dtype in (torch.float32, torch.bfloat16) for width in (64, 128)), DOUBLE)


def compiled(launch: Launch, target: str) -> tuple[int, int, int]:
    """Return shared memory in bytes, registers a thread and spilled bytes (for AMD: registers)."""
    # the allocator aligns what it hands out, and row lengths are what they are
    pointers = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(launch.signature.values()) if t.startswith("*")}
    constants = dict(launch.constants)
    if target.startswith("gfx") and constants.get("PRECISION") == "tf32x3":
        constants["PRECISION"] = "ieee"  # what _triton.precision says there
    source = ASTSource(launch.kernel, launch.signature, constants, pointers)
    options = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        kernel = triton.compile(source, target=TARGETS[target], options=options)
    if target.startswith("gfx"):
        text = kernel.asm["amdgcn"]
        found = [int(re.search(rf"\.{name}:\s+(\d+)", text)[1]) for name in ("vgpr_count", "vgpr_spill_count")]
        return kernel.metadata.shared, *found
    report = log.getvalue()
    spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", report))
    return kernel.metadata.shared, int(re.search(r"Used (\d+) registers", report)[1]), spilled


def _work(job: tuple[int, str]) -> tuple[int, int, int] | str:
    index, target = job
    try:
        return compiled(_FOUND[index], target)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


_FOUND: list[Launch] = []
"""Filled before the workers are forked off."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ops", nargs="*", help="all by default")
    parser.add_argument("--quick", action="store_true", help="half precision, 64 channels, all variants on sm_90 alone")
    parser.add_argument("-o", "--output", type=Path, help="write the table there")
    options = parser.parse_args()
    found = launches(options.ops or with_kernels(), options.quick)
    _FOUND.extend(found.values())
    triton.knobs.nvidia.dump_ptxas_log = triton.knobs.compilation.always_compile = True  # a cached kernel has no log
    keys = list(found)
    jobs = [(i, target) for i in range(len(keys)) for target in TARGETS]
    if options.quick:
        one_each = {key[3]: i for i, key in enumerate(keys)}.values()
        jobs = [(i, target) for i, target in jobs if target == "sm_90" or i in one_each]
    rows, faults = [], []
    with ProcessPoolExecutor(2) as pool:
        results = pool.map(_work, jobs)
        for done, ((i, target), figures) in enumerate(zip(jobs, results, strict=True), 1):
            op, dtype, width, kernel, variant = keys[i]
            name = f"{op} {kernel} {dtype} {width} {variant}"
            if done % 40 == 0:
                print(f"{done} of {len(jobs)} compiled", file=sys.stderr, flush=True)
            if isinstance(figures, str):
                faults.append(f"{name}: does not compile for {target}: {figures}")
                continue
            shared, _, spills = figures
            rows.append(dict(zip(COLUMNS, (op, kernel, dtype, width, variant, target, *figures), strict=True)))
            if shared > SHARED[target]:
                faults.append(f"{name}: {shared} B of shared memory, {target} has {SHARED[target]}")
            if spills and target == "sm_90" and dtype != "float64":
                faults.append(f"{name}: {spills} B spilled on {target}")
    print(f"{len(rows)} kernels compiled for {', '.join(TARGETS)}: {', '.join(sorted({r['kernel'] for r in rows}))}")
    if options.output:
        with options.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    print("\n".join(faults) or "all fit in shared memory; no spills on sm_90 but in double precision")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
