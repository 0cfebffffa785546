"""Without a GPU, every kernel compiles for those that people have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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
