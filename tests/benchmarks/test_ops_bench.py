"""The benchmark of the ops: its command runs, its rows are whole, and no figure on a page was typed by hand."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.ops import half
from benchmarks.ops.forms import FORMS
from benchmarks.ops.render import between_marks, of_one_op, pages, promises
from benchmarks.ops.results import Line, Point, growth, read
from benchmarks.ops.rows import GROWTH, ROWS, smoke
from benchmarks.ops.timing import Call, difference, medians, multiple
from gated.core import ops
from gated.core.testing import with_gradients

ROOT = Path(__file__).resolve().parents[2]


def line(**values: str) -> Line:
    return Line(**(dict.fromkeys(Line.__dataclass_fields__, "") | values))


def test_the_command_measures_every_row_and_writes_tables(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.ops.bench", "--smoke", "--rounds", "1", "--out", str(tmp_path)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines, points, facts = read(tmp_path)
    assert [(row.op, row.form) for row in lines] == [(row.op, row.form) for row in smoke(ROWS)]
    for made, row in zip(lines, ROWS, strict=True):
        if not made.ms:
            assert made.note == "no bf16 instructions here"
            continue
        assert min(float(made.ms), float(made.peer_ms), float(made.matmul_share), float(made.copy_share)) > 0
        assert float(made.speedup) == pytest.approx(float(made.peer_ms) / float(made.ms), rel=0.02)
        assert (made.kept in ("yes", "no")) == (row.least is not None)
        assert bool(made.difference) == (row.tolerance is not None)
    assert points
    assert all(float(point.us_per_token) > 0 and float(point.peak_mib) > 0 for point in points)
    assert facts["threads"] == "1"
    assert float(facts["matmul GFLOP/s"]) > 0
    assert all(promise in printed for promise, _, _ in promises(lines, points))


def test_tables_on_the_pages_are_those_of_the_results() -> None:
    made = pages()
    assert len(made) == 1 + len({row.op for row in ROWS})
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(ROOT)}: run `make bench-ops`"


def test_every_op_has_a_row_and_every_row_a_form() -> None:
    assert {row.op for row in ROWS} == set(ops.list_ops())
    assert {(row.op, row.form) for row in (*ROWS, *GROWTH)} <= set(FORMS)


@pytest.mark.parametrize("op", ["linear_recurrence", "delta_recurrence"])
def test_factors_rounded_to_bf16_are_seen_in_the_error_budget(op: str) -> None:
    torch.manual_seed(0)
    call, tensors = half.drawn(op, heads=2, length=40)
    bounds = half.oracle(call, tensors)
    with half.Watched() as watched:
        fine = with_gradients(call, tensors)
    with half.Watched(*watched.lines):
        rounded = with_gradients(call, tensors)
    assert half.budget(fine, *bounds) <= 1 < half.budget(rounded, *bounds)


@pytest.mark.parametrize("op", ["linear_recurrence", "delta_recurrence"])
def test_products_are_left_out_where_they_are_named_and_nowhere_else(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call, tensors = half.drawn(op, heads=2, length=40)
    with half.Watched() as watched:
        with_gradients(call, tensors)
    products = Counter[str]()

    def counted(product: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def called(*args: Any, **kwargs: Any) -> torch.Tensor:
            products["all"] += 1
            return product(*args, **kwargs)

        return called

    for owner, name in ((torch, "bmm"), (torch, "baddbmm"), (torch.Tensor, "baddbmm_")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    found = []
    for lines in ((), list(watched.lines)[:1], watched.lines):
        products.clear()
        with half.left_out(lines):
            with_gradients(call, tensors)
        found.append(products["all"])
    assert found[0] > found[1] > found[2] == 0


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold"):
        between_marks("no marks here", "table")


def test_growth_is_a_power_of_the_length_and_its_dearest_token() -> None:
    values = (("10", "2.0", "0.0", "5"), ("20", "2.2", "0.1", "20"), ("40", "2.1", "0.1", "80"))
    points = [Point("op", "form", *row) for row in values]
    assert growth(points, "us_per_token") == pytest.approx((1.035, 1.1), abs=1e-3)
    assert growth(points, "peak_mib") == pytest.approx((2.0, 4.0))
    assert growth([Point("op", "form", "10", "", "", "5")], "us_per_token") is None
    found = {promise.split(": ")[1].split()[0]: kept for promise, _, kept in promises([], points)}
    assert found == {"time": "yes", "memory": "no"}


def test_what_was_not_measured_is_said_instead_of_a_figure() -> None:
    row = line(op="scan", form="bf16", size="B1", peer="itself", least="1.5", note="no bf16 instructions here")
    assert promises([row], [])[0][1:] == ("", "no bf16 instructions here")


def test_a_table_says_what_was_promised_and_whether_it_was_kept() -> None:
    measured = {"op": "scan", "form": "constant", "ms": "2.00", "peer": "loop", "peer_ms": "3.00", "speedup": "1.50"}
    facts: dict[str, str] = defaultdict(str)
    rows = [line(**measured), line(**measured, least="2", kept="no"), line(**measured, least="0.667", kept="yes")]
    table = [
        row.split(" | ") for row in of_one_op("scan", rows, [], facts).splitlines() if row.startswith("| constant")
    ]
    assert [row[6] for row in table] == ["", "at least 2x: no", "at most 1.5x: yes"]


def test_sides_take_turns_and_the_median_is_taken() -> None:
    order: list[str] = []
    _, rounds = medians([lambda: order.append("ours"), lambda: order.append("peer")], least=5, seconds=0.0)
    assert rounds == 5
    assert order == ["ours", "peer"] * 5


def test_a_long_call_is_compared_with_short_ones_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []

    def lasting(name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            order.append(name)
            clock[0] += seconds * (1 if len(order) < 6 else 2)  # a slow spell, which meets both

        return call

    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    ratio, _ = multiple(lasting("long", 8.8), lasting("short", 2.0), 4, rounds=3)
    assert order == ["short", "short", "long", "short", "short"] * 3
    assert ratio == pytest.approx(4.4)


def test_a_disagreement_and_a_kept_square_are_seen() -> None:
    x = torch.randn(1, 6, 4).requires_grad_()
    scores = Call(lambda t: (t @ t.mT).softmax(-1) @ t, [x])
    assert scores.keeps_square(6)
    assert not Call(lambda t: t @ t.mT.new_ones(4, 4), [x]).keeps_square(6)
    assert difference(scores(), scores()) == 0
    assert difference([torch.tensor([1.0, 4.0])], [torch.tensor([1.0, 2.0])]) == 1.0
