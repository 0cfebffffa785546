"""What a run leaves behind: four tables of plain strings, read back as they were written."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

FOLDER = Path(__file__).resolve().parents[1] / "results"
SLACK = 1.15
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Line:
    """One row of ``ops.csv``; what was not measured is empty.

    Attributes:
        speedup: time of the peer over ours.
        least: the speed-up that was promised.
        kept: whether that promise was kept, ``yes`` or ``no``.
        difference: between the two results, relative to the largest value; empty if they are different functions.
        matmul_share: FLOPs of the definition a second, in percent of the largest that a matmul reached.
        copy_share: bytes of arguments, output and their gradients a second, in percent of what a copy reached.
        rounds: how many times the two were run.
    """

    op: str
    form: str
    size: str
    ms: str
    peer: str
    peer_ms: str
    speedup: str
    least: str
    kept: str
    difference: str
    matmul_share: str
    copy_share: str
    rounds: str
    note: str = ""


@dataclass(frozen=True)
class Point:
    """One row of ``ops_growth.csv``: a form at one length of ``B1 H4 D64``.

    Attributes:
        us_per_token: process time.
        system_us_per_token: the part of it that the kernel took.
    """

    op: str
    form: str
    length: str
    us_per_token: str
    system_us_per_token: str
    peak_mib: str


@dataclass(frozen=True)
class Fact:
    """One row of ``ops_machine.csv``."""

    fact: str
    value: str


@dataclass(frozen=True)
class GpuLine:
    """One row of ``ops_gpu.csv``: milliseconds of a GPU, forward and backward unless said otherwise.

    Attributes:
        dtype: of queries, keys and values; gates and states are fp32.
        attention_ms: torch's attention over the same queries, keys and values, causal for the recurrences.
        mib: memory above the inputs at its peak.
        difference: of the Triton form from the chunk form, relative to the largest value.
    """

    gpu: str
    op: str
    form: str
    size: str
    dtype: str
    forward_ms: str
    ms: str
    chunk_ms: str
    attention_ms: str
    mib: str
    chunk_mib: str
    difference: str


def write(folder: Path, rows: Sequence[Any]) -> None:
    """Write rows of one kind, one or more, to the file of that kind."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILES[type(rows[0])]).open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, [f.name for f in fields(rows[0])], lineterminator="\n")
        out.writeheader()
        out.writerows(asdict(row) for row in rows)


def rows(folder: Path, kind: type[Kind]) -> list[Kind]:
    with (folder / FILES[kind]).open(newline="", encoding="utf-8") as file:
        return [kind(**row) for row in csv.DictReader(file)]


def read(folder: Path = FOLDER) -> tuple[list[Line], list[Point], dict[str, str]]:
    return rows(folder, Line), rows(folder, Point), {fact.fact: fact.value for fact in rows(folder, Fact)}


class Growing(NamedTuple):
    """How a cost grows with length: its exponent in ``T^x``, and the largest cost a token over that of the shortest."""

    exponent: float
    worst: float


def growth(points: list[Point], column: str) -> Growing | None:
    """Fit a power of the length to a cost; None if it was not measured.

    Args:
        points: of one form, two or more, from short to long.
        column: ``us_per_token`` or ``peak_mib``.
    """
    values = [getattr(p, column) for p in points]
    if not all(values):
        return None
    lengths = [int(p.length) for p in points]
    costs = [float(v) / (1 if column == "us_per_token" else t) for v, t in zip(values, lengths, strict=True)]
    slope = statistics.linear_regression([math.log(t) for t in lengths], [math.log(c) for c in costs]).slope
    return Growing(1 + slope, max(costs) / costs[0])


def by_form(points: list[Point]) -> dict[tuple[str, str], list[Point]]:
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.op, point.form), []).append(point)
    return groups


FILES = {Line: "ops.csv", Point: "ops_growth.csv", Fact: "ops_machine.csv", GpuLine: "ops_gpu.csv"}
