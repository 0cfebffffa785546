"""Time every op beside its peer in one run, and measure how time and memory grow with length.

    make bench-ops

runs this and ``render``, which puts the tables into docs/ops.md and the READMEs of the ops. While working on one form,

    .venv-bench/bin/python -m benchmarks.ops.bench --only bounded

prints and writes nothing. ``--smoke`` takes toy sizes and needs no fla-core.
"""

from __future__ import annotations

import argparse
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import repeat
from pathlib import Path

import torch

from benchmarks.ops.forms import FORMS, Size
from benchmarks.ops.memory import peak_mebibytes
from benchmarks.ops.render import promises
from benchmarks.ops.results import FOLDER, Fact, Line, Point, write
from benchmarks.ops.rows import GROWTH, ROWS, Growth, Row, has_bf16_instructions, smoke
from benchmarks.ops.timing import Spent, copy_ceiling, difference, matmul_ceiling, medians, multiple
from gated.engine.allocator import keep_freed_memory

THREADS = 1


def measure(row: Row, matmul: float, copy: float, *, rounds: int, seconds: float) -> Line:
    """Check that the two agree, then time them.

    Raises:
        AssertionError: they do not, or ours keeps a tensor that it must not keep: such a row has no figure.
    """
    form, size = FORMS[row.op, row.form], row.size
    least = "" if row.least is None else f"{row.least:.3g}"
    if row.needs_bf16 and not has_bf16_instructions():
        empty = dict.fromkeys(("ms", "peer_ms", "speedup", "kept", "difference", "matmul_share", "copy_share"), "")
        note = "no bf16 instructions here"
        return Line(row.op, row.form, str(size), peer=row.peer, least=least, rounds="0", note=note, **empty)
    ours = form.make(size)
    peer = row.beside(ours)
    pair = ours(), peer()  # this also warms up
    off = None if row.tolerance is None else difference(*pair)
    allowed = float("inf") if row.tolerance is None else row.tolerance
    assert off is None or off <= allowed, f"{row.op}, {row.form}: differs from {row.peer} by {off:.1e}"
    assert not row.lean or not ours.keeps_square(size.length), f"{row.op} keeps [T, T] for backward"
    (own, other), taken = medians((ours, peer), least=rounds, seconds=seconds)
    speedup = other.total / own.total
    return Line(
        op=row.op,
        form=row.form,
        size=str(size),
        ms=_three(1e3 * own.total),
        peer=row.peer,
        peer_ms=_three(1e3 * other.total),
        speedup=_three(speedup),
        least=least,
        kept="" if row.least is None else "yes" if speedup >= row.least else "no",
        difference="" if off is None else f"{off:.1e}",
        matmul_share=_three(100e-9 * form.flops(size) / own.total / matmul),
        copy_share=_three(100e-9 * ours.bytes_moved / own.total / copy),
        rounds=str(taken),
        note="no [T, T] kept for backward" if row.lean else "",
    )


def grow(case: Growth, *, rounds: int, seconds: float) -> list[Point]:
    """Time every length beside the shortest, and take the peak memory of each in a process of its own."""
    times = _times(case, rounds, seconds) if case.timed else repeat(None)
    points = []
    for length, spent in zip(case.lengths, times, strict=False):
        total, system = (_three(1e6 * each / length) for each in spent) if spent else ("", "")
        peak = f"{peak_mebibytes(case.op, case.form, length):.1f}"
        points.append(Point(case.op, case.form, str(length), total, system, peak))
    return points


def _times(case: Growth, rounds: int, seconds: float) -> list[Spent]:
    shortest, *longer = (FORMS[case.op, case.form].make(Size(1, 4, length, 64)) for length in case.lengths)
    shortest()
    (unit,), _ = medians([shortest], least=rounds, seconds=seconds)
    times = [unit]
    for length, call in zip(case.lengths[1:], longer, strict=True):
        ratio, system = multiple(call, shortest, length // case.lengths[0], rounds=rounds)
        times.append(Spent(ratio * unit.total, system))
    return times


def machine(matmul: float, copy: float, rounds: int) -> list[Fact]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    try:
        fla = version("fla-core")
    except PackageNotFoundError:
        fla = "absent"
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": names[0] if names else platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "torch": version("torch"),
        "fla-core": fla,
        "rounds": str(rounds),
        "matmul GFLOP/s": _three(matmul),
        "copy GB/s": _three(copy),
    }
    return [Fact(name, value) for name, value in facts.items()]


def _three(x: float) -> str:
    """Three significant digits, never with an exponent."""
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}" if x >= 1 else f"{x:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV files")
    parser.add_argument("--rounds", type=int, default=5, help="least number of runs of each side")
    parser.add_argument(
        "--only", default="", help="rows whose op, form, size or peer hold this text; nothing is written"
    )
    parser.add_argument("--smoke", action="store_true", help="toy sizes, no fla-core")
    options = parser.parse_args()

    start = time.monotonic()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    keep_freed_memory()
    matmul, copy = matmul_ceiling(256 if options.smoke else 2048), copy_ceiling(8 if options.smoke else 256)
    print(f"ceilings on {THREADS} thread: matmul {matmul:.1f} GFLOP/s, copy {copy:.1f} GB/s", flush=True)
    rows, grown, seconds = ROWS, GROWTH, 1.0
    if options.smoke:
        # of shorter tensors the system may not count a page
        rows, grown, seconds = smoke(ROWS), [Growth(GROWTH[0].op, GROWTH[0].form, (512, 1024))], 0.0
    lines, points = [], []
    for row in rows:
        name = f"{row.op}, {row.form}, {row.size} beside {row.peer}"
        if options.only in name:
            line = measure(row, matmul, copy, rounds=options.rounds, seconds=seconds)
            lines.append(line)
            share = f"{line.matmul_share} % of matmul, {line.copy_share} % of copy"
            result = f"{line.ms} ms, {line.peer_ms} ms, {line.speedup}x, {share}" if line.ms else line.note
            print(f"[{time.monotonic() - start:4.0f} s] {name}: {result}", flush=True)
    for case in grown:
        if options.only in f"{case.op}, {case.form}, growth":
            points += grow(case, rounds=options.rounds, seconds=seconds)
            for point in points[-len(case.lengths) :]:
                name = f"{point.op}, {point.form}, {point.length} tokens"
                cost = f"{point.us_per_token} us a token, {point.system_us_per_token} of them the kernel; "
                cost = cost if point.us_per_token else ""
                print(f"[{time.monotonic() - start:4.0f} s] {name}: {cost}{point.peak_mib} MiB", flush=True)
    for promise, found, kept in promises(lines, points):
        print(f"{kept:>4}  {promise}" + (f" ({found})" if found else ""))
    if not options.only:
        for table in (lines, points, machine(matmul, copy, options.rounds)):
            write(options.out, table)


if __name__ == "__main__":
    main()
