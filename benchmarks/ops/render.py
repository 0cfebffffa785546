"""Write the tables of the results in the tree into docs/ops.md and the README of every op, between two marks.

The command is ``python -m benchmarks.ops.render``; ``make bench-ops`` ends with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ops.results import FOLDER, SLACK, GpuLine, Line, Point, by_form, growth, read, rows

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
HEAD = ("form", "size", "ms", "beside", "ms", "faster", "promised", "of matmul", "of copy")


def pages() -> dict[Path, str]:
    """Return every page that holds marks, with the tables of the results in the tree."""
    lines, points, facts = read()
    made = {ROOT / "docs" / "ops.md": everything(lines, points, facts)}
    for op in dict.fromkeys(line.op for line in lines):
        made[ROOT / "gated" / "core" / "ops" / op / "README.md"] = of_one_op(op, lines, points, facts)
    return {path: between_marks(path.read_text(encoding="utf-8"), text) for path, text in made.items()}


def between_marks(page: str, text: str) -> str:
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"a page must hold {BEGIN} and {END} once")
    return pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", page)


def everything(lines: list[Line], points: list[Point], facts: dict[str, str]) -> str:
    parts = [_machine(facts)]
    for op in dict.fromkeys(line.op for line in lines):
        parts += [f"### {op}", _rows(op, lines)]
    parts += ["### Growth with length", _growth(points), "### Promises", _promises(lines, points)]
    parts += ["### On a GPU", _on_gpu(rows(FOLDER, GpuLine))]
    return "\n\n".join(parts)


def of_one_op(op: str, lines: list[Line], points: list[Point], facts: dict[str, str]) -> str:
    own = [point for point in points if point.op == op]
    parts = [_machine(facts), _rows(op, lines), *([_growth(own)] if own else [])]
    return "\n\n".join([*parts, "What the columns mean, and the formulas: [docs/ops.md](../../../../docs/ops.md)."])


def promises(lines: list[Line], points: list[Point]) -> list[tuple[str, str, str]]:
    """Return what was promised, what was found, and ``yes``, ``no`` or why it was not measured."""
    found = []
    for line in lines:
        if line.least:
            limit, unit = _limit(line.least)
            name = f"{line.op}, {line.form}, {line.size}: {limit} {unit} {line.peer}"
            result = f"{line.speedup}x as fast" + (f", {line.note}" if line.note else "")
            found.append((name, result, line.kept) if line.ms else (name, "", line.note))
    for (op, form), own in by_form(points).items():
        for column, what in (("us_per_token", "time"), ("peak_mib", "memory")):
            fit = growth(own, column)
            if fit is not None:
                name = f"{op}, {form}: {what} linear in length, {own[0].length} to {own[-1].length} tokens"
                result = f"grows as T^{fit.exponent:.2f}, {fit.worst:.2f}x a token at worst"
                found.append((name, result, "yes" if fit.worst <= SLACK else "no"))
    return found


def _machine(facts: dict[str, str]) -> str:
    return (
        f"`make bench-ops`, {facts['date']}: {facts['cpu']} ({facts['instructions']}), {facts['threads']} thread, "
        f"torch {facts['torch']}, fla-core {facts['fla-core']}; fp32, forward and backward, process time, median of "
        f"{facts['rounds']} or more interleaved runs. Ceilings of the machine: matmul {facts['matmul GFLOP/s']} "
        f"GFLOP/s, copy {facts['copy GB/s']} GB/s."
    )


def _limit(least: str) -> tuple[str, str]:
    if float(least) >= 1:
        return f"at least {least}x", "as fast as"
    return f"at most {1 / float(least):.3g}x", "the time of"


def _rows(op: str, lines: list[Line]) -> str:
    cells: list[tuple[str, ...]] = []
    for line in lines:
        if line.op != op:
            continue
        if not line.ms:
            cells.append((line.form, line.size, f"not measured: {line.note}", line.peer, "", "", "", "", ""))
            continue
        cells.append(
            (
                line.form,
                line.size,
                line.ms,
                line.peer,
                line.peer_ms,
                f"{line.speedup}x",
                f"{_limit(line.least)[0]}: {line.kept}" if line.least else "",
                f"{line.matmul_share} %",
                f"{line.copy_share} %",
            )
        )
    return table(HEAD, cells)


def _growth(points: list[Point]) -> str:
    cells = [
        (p.op, p.form, f"{int(p.length):,}", p.us_per_token or "not measured", p.system_us_per_token, p.peak_mib)
        for own in by_form(points).values()
        for p in own
    ]
    return table(("op", "form", "tokens", "µs a token", "of them the kernel", "MiB above the inputs"), cells)


def _promises(lines: list[Line], points: list[Point]) -> str:
    return table(("promise", "found", "kept"), promises(lines, points))


def _on_gpu(lines: list[GpuLine]) -> str:
    head = ("form", "size", "dtype", "ms forward", "ms", "chunk", "attention", "MiB", "chunk", "differs by")
    columns = ("size", "dtype", "forward_ms", "ms", "chunk_ms", "attention_ms", "mib", "chunk_mib", "difference")
    cells = [(f"{line.op}, {line.form}", *(getattr(line, column) for column in columns)) for line in lines]
    return f"`python -m benchmarks.ops.gpu` on one {lines[0].gpu}.\n\n" + table(head, cells)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
