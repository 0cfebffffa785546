"""The lines of the table, in order: which form, at which size, beside which peer, and what was promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from benchmarks.ops import peers
from benchmarks.ops.forms import BOUNDED, COMPILED, EXACT, HEAD, Size
from benchmarks.ops.timing import Call

SHORT, LONG, VIT = Size(1, 4, 1024, 64), Size(1, 4, 4096, 64), Size(8, 3, 197, 64)
GRIDS = Size(8, 4, 14 * 14, 48), Size(8, 4, 24 * 24, 48)
LOOP, REFERENCE = "loop of fla-core", "its reference"
CAUSAL, FULL = "causal attention of torch", "attention of torch"


@dataclass(frozen=True)
class Row:
    """One form beside one peer.

    Attributes:
        peer: the peer in words.
        beside: makes the peer's call from ours.
        least: the peer must take at least this many times as long as ours; None where nothing was promised.
        tolerance: how far the two may disagree, relative to the largest value; None if they are different functions.
        lean: no tensor with two axes of length ``T`` may be kept for backward.
    """

    op: str
    form: str
    size: Size
    peer: str
    beside: Callable[[Call], Call]
    least: float | None = None
    tolerance: float | None = None
    lean: bool = False

    @property
    def needs_bf16(self) -> bool:
        return self.form.endswith("bf16")


@dataclass(frozen=True)
class Growth:
    """One form at several lengths; time and memory per token may not grow by more than 15 %."""

    op: str
    form: str
    lengths: tuple[int, ...]
    timed: bool = True


def _recurrences(op: str, loop: Callable[[Call], Call], promises: dict[str, dict[str, float]]) -> list[Row]:
    causal, full = partial(peers.attention, causal=True), partial(peers.attention, causal=False)
    rows: list[Row] = []
    for form, least in promises.items():
        rows += [
            Row(op, form, SHORT, LOOP, loop, least.get("loop"), tolerance=1e-4),
            Row(op, form, LONG, CAUSAL, causal, least.get("long")),
            Row(op, form, VIT, FULL, full, least.get("vit")),
        ]
        if "vit" in least:
            rows.append(Row(op, form + COMPILED, VIT, FULL, full, least["vit"]))
    return rows


PROMISED = {"long": 2.0, "vit": 1 / 1.5}
ROWS = [
    *_recurrences(
        "linear_recurrence",
        peers.linear_loop,
        {"no decay": {}, HEAD: {}, EXACT: {"loop": 4.0}, BOUNDED: {"loop": 12.0, **PROMISED}},
    ),
    Row("linear_recurrence", f"{BOUNDED}, bf16", LONG, "itself in fp32", peers.full_precision, 1.5, tolerance=0.02),
    *_recurrences("delta_recurrence", peers.delta_loop, {HEAD: {"loop": 10.0, **PROMISED}, EXACT: {}, BOUNDED: {}}),
    Row("delta_recurrence", f"{HEAD}, bf16", LONG, "itself in fp32", peers.full_precision, 1.5, tolerance=0.02),
    Row(
        "softmax_attention",
        "causal forget gate",
        LONG,
        "the bias written out, attention of torch",
        peers.written_out,
        2.0,
        tolerance=1e-3,
    ),
    *(
        Row("gpsa", form, size, FULL, partial(peers.attention, causal=False), 1 / 1.15, lean=True)
        for size in GRIDS
        for form in ("grid", "grid" + COMPILED)
    ),
    Row("local_global", "groups of 256", Size(1, 1, 4096, 128), REFERENCE, peers.reference, tolerance=1e-4),
    *(
        Row("gated_conv", form, size, "torch's convolution, channels first", peers.channels_first, tolerance=1e-4)
        for form, size in (
            ("order 3, 7 x 7", Size(8, 1, 14 * 14, 192)),
            ("order 3, 7 x 7", Size(2, 1, 56 * 56, 64)),
            ("order 1, 31 x 31", Size(2, 1, 56 * 56, 64)),
        )
    ),
    # the loop of fla-core is quadratic in backward; the reference, a loop too, is not
    Row("scan", "per channel", SHORT, LOOP, peers.scan_loop, tolerance=1e-4),
    Row("scan", "constant", SHORT, LOOP, peers.scan_loop, tolerance=1e-4),
    *(
        Row("scan", form, LONG, REFERENCE, peers.reference, tolerance=1e-4)
        for form in ("per channel", "constant", "complex")
    ),
]

LENGTHS = tuple(1024 * n for n in (4, 8, 16, 32, 64))
GROWTH = [
    Growth("linear_recurrence", BOUNDED, LENGTHS),
    Growth("delta_recurrence", HEAD, LENGTHS),
    # its time is quadratic, its memory is not
    Growth("softmax_attention", "causal forget gate", tuple(1024 * n for n in (1, 2, 4, 8, 16)), timed=False),
]


def smoke(rows: list[Row]) -> list[Row]:
    """The same lines at toy sizes, uncompiled, with the op's own reference in the place of fla-core."""
    size = Size(1, 2, 16, 8)
    rows = [replace(row, form=row.form.removesuffix(COMPILED)) for row in rows]
    return [
        replace(row, size=size, peer=REFERENCE, beside=peers.reference) if row.peer == LOOP else replace(row, size=size)
        for row in rows
    ]


def has_bf16_instructions() -> bool:
    """Whether this CPU multiplies bf16 by itself, and torch makes use of it."""
    able = any(on for name, on in torch.cpu.get_capabilities().items() if "bf16" in name)
    return able and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
