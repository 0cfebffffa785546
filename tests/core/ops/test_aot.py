"""Without a GPU, every kernel compiles for those that people have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.ops.aot import DOUBLE, calls, with_kernels
from gated.core.ops._triton import written_down

ROOT = Path(__file__).parents[3]


def test_every_kernel_compiles_ahead_of_time_and_fits(tmp_path):
    # the interpreter and the compiler cannot share a process
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, ROOT / "benchmarks/ops/aot.py", "--quick"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr[-4000:]
    sources = [p.read_text() for p in (ROOT / "gated/core/ops").rglob("*.py")]
    kernels = {name for source in sources for name in re.findall(r"^@triton\.jit.*\ndef (\w+_kernel)\(", source, re.M)}
    assert len(kernels) >= 10
    assert kernels <= set(re.findall(r"\w+_kernel", found.stdout))


def test_no_bytes_are_read_beside_doubles():
    """Triton 3.6 does not compile products of doubles for NVIDIA where a mask of bytes is loaded on the way there."""
    launches = 0
    for op in with_kernels():
        for tensors, function in calls(op, *DOUBLE):
            with written_down() as written:
                out = function()
                torch.autograd.grad(out, tensors, torch.zeros_like(out), allow_unused=True)
            launches += len(written)
            assert not [launch for launch in written if "*i1" in launch.signature.values()]
    assert launches > 50
