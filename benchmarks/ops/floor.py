"""Why a promise at a short length can't be kept in plain torch: the time of the matrix products alone.

    .venv-bench/bin/python -m benchmarks.ops.floor

For each promise against attention at a ViT's length, the time that our form spends inside torch's matrix products
and triangular solves (which no fusion of the passes around them would save) is set beside the peer's whole time, both
medians of the same run. A form whose products alone take longer than the promise allows would need other products.
"""

from __future__ import annotations

import statistics

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.ops.forms import FORMS
from benchmarks.ops.rows import GRIDS, ROWS, VIT
from benchmarks.ops.timing import Call, medians
from gated.engine.allocator import keep_freed_memory

PRODUCTS = ("aten::bmm", "aten::mm", "aten::addmm", "aten::baddbmm", "aten::linalg_solve_triangular")
ROUNDS = 15


def products(call: Call) -> float:
    """Median seconds inside matrix products, forward and backward."""
    taken = []
    for _ in range(ROUNDS):
        with profile(activities=[ProfilerActivity.CPU]) as found:
            call()
        taken.append(sum(e.self_cpu_time_total for e in found.key_averages() if e.key in PRODUCTS) * 1e-6)
    return statistics.median(taken)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    for row in ROWS:
        if row.least is None or row.size not in (VIT, *GRIDS):
            continue
        ours = FORMS[row.op, row.form].make(row.size)
        peer = row.beside(ours)
        ours(), peer()
        (own, other), _ = medians((ours, peer), least=ROUNDS, seconds=5)
        alone = products(ours)
        print(
            f"{row.op}, {row.form}, {row.size}: whole {own.total / other.total:.2f}, products alone "
            f"{alone / other.total:.2f}, allowed {1 / row.least:.2f} of the time of {row.peer}"
        )


if __name__ == "__main__":
    main()
