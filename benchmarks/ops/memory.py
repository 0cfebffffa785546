"""How much the resident memory of a fresh process grows by one forward and backward pass.

    python -m benchmarks.ops.memory OP FORM LENGTH

A fresh process, because memory that was freed may stay with its process, and one whose allocator gives every block
back at once: otherwise the figure differs by half from run to run. Measured so it is the sum of the tensors alive, as
torch's profiler counts it. The high-water mark of the kernel (``VmHWM``) is set back first; ``ru_maxrss`` would not do,
for a child begins with that of its parent.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.ops.forms import FORMS, Size

ROOT = Path(__file__).resolve().parents[2]


def peak_mebibytes(op: str, form: str, length: int) -> float:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ops.memory", op, form, str(length)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def _high_water() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def main(op: str, form: str, length: str) -> None:
    torch.set_num_threads(1)
    make = FORMS[op, form].make
    make(Size(1, 4, 64, 64))()  # libraries and their buffers
    call = make(Size(1, 4, int(length), 64))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = _high_water()
    results = call()
    print((_high_water() - before) / 1024)
    del results


if __name__ == "__main__":
    main(*sys.argv[1:])
