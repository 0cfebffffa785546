"""How good separated voices are, given the true ones."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from torchmetrics.functional.audio import (
    permutation_invariant_training,
    scale_invariant_signal_noise_ratio,
    signal_distortion_ratio,
)

from gated.cli.main import Parser
from gated.engine.files import atomic_path
from gated.errors import UserError
from tasks.speech.audio import read_audio

Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
MEASURES: dict[str, Measure] = {"si_sdr": scale_invariant_signal_noise_ratio, "sdr": signal_distortion_ratio}
"""Column -> measure in decibel of ``(estimates, references)`` ``[S, T]``; both ignore a constant offset or a filter."""


@dataclass(frozen=True)
class Scores:
    """Scores of the estimates under the best assignment.

    Attributes:
        order: ``order[i]`` is the estimate that belongs to reference ``i``.
        columns: measure -> value for each reference; ``*i`` are improvements over the mixture.
    """

    order: list[int]
    columns: dict[str, list[float]]

    def mean(self, name: str) -> float:
        """Return the mean of a column over the references."""
        return sum(self.columns[name]) / len(self.columns[name])


def score(
    estimates: torch.Tensor, references: torch.Tensor, mixture: torch.Tensor | None = None, *, sample_rate: int
) -> Scores:
    """Score ``[S, T]`` against ``[S, T]``: SI-SDR and SDR in decibel, improvements if there is a mixture ``[T]``, STOI.

    Estimates are assigned to references so that the mean SI-SDR is best. The SI-SDR is that of zero-mean signals
    (arXiv 1811.02508); the SDR allows a filter of 512 taps (BSS Eval). STOI needs the package ``pystoi``; without it
    there is no such column.

    Raises:
        UserError: the shapes differ, or a reference is silent.
    """
    if estimates.shape != references.shape or (mixture is not None and mixture.shape != references.shape[1:]):
        raise UserError(
            "score: estimates, references and mixture differ in shape",
            expected="[S, T], [S, T], [T]",
            found=", ".join(str(list(t.shape)) for t in (estimates, references, mixture) if t is not None),
        )
    for i, reference in enumerate(references):
        if not (reference - reference.mean()).any():
            raise UserError(f"reference {i + 1} is silent", hint="leave it out: no ratio to a silent voice is defined")
    estimates, references = estimates.double(), references.double()
    order = permutation_invariant_training(estimates[None], references[None], scale_invariant_signal_noise_ratio)[1][0]
    ordered = estimates[order]
    columns: dict[str, list[float]] = {}
    for name, measure in MEASURES.items():
        values = _each(measure, ordered, references)
        columns[name] = values.tolist()
        if mixture is not None:
            columns[name + "i"] = (values - _each(measure, mixture.double().expand_as(references), references)).tolist()
    intelligibility = find_stoi()
    if intelligibility is not None:
        pairs = zip(references.numpy(), ordered.numpy(), strict=True)
        columns["stoi"] = [float(intelligibility(reference, estimate, sample_rate)) for reference, estimate in pairs]
    return Scores(order.tolist(), columns)


def _each(measure: Measure, estimates: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    # one voice at a time: with MKL and torch 2.11 the batched solver inside the SDR was seen to fail on sound input
    return torch.stack([measure(e, r) for e, r in zip(estimates, references, strict=True)])


def find_stoi() -> Callable[..., float] | None:
    """Return ``pystoi.stoi``, or None if the package is not installed."""
    try:
        from pystoi import stoi
    except ImportError:
        return None
    found: Callable[..., float] = stoi
    return found


def main(argv: list[str]) -> int:
    """``gated speech score``."""
    parser = Parser("gated speech score", description="SI-SDR, SDR and STOI of separated voices, as CSV.")
    parser.add_argument("estimates", nargs="+", metavar="EST", help="separated voices, in any order")
    parser.add_argument("--ref", nargs="+", required=True, metavar="REF", help="the true voices, as many as EST")
    parser.add_argument("--mix", metavar="MIX", help="the mixture: adds the improvements over it")
    parser.add_argument("-o", "--out", help="CSV to write (printed if left out)")
    args = parser.parse_args(argv)
    if len(args.estimates) != len(args.ref):
        raise UserError(
            "every estimate needs its reference",
            expected=f"{len(args.estimates)} after --ref",
            found=str(len(args.ref)),
            hint="name as many references as estimates, in any order",
        )
    waves, rate = read_alike([*args.estimates, *args.ref, *([args.mix] if args.mix else [])])
    count = len(args.ref)
    scores = score(waves[:count], waves[count : 2 * count], waves[-1] if args.mix else None, sample_rate=rate)
    if "stoi" not in scores.columns:
        print("no column stoi: the package pystoi is not installed", file=sys.stderr)
    if args.out is None:
        _write(sys.stdout, args.ref, args.estimates, scores)
        return 0
    with atomic_path(args.out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        _write(file, args.ref, args.estimates, scores)
    means = ", ".join(f"{name} {scores.mean(name):.2f}" for name in scores.columns)
    print(f"mean of {count} voices: {means}\n{args.out}")
    return 0


def read_alike(paths: Sequence[str]) -> tuple[torch.Tensor, int]:
    """Return recordings of one length and one rate as ``([N, T], rate)``.

    Raises:
        UserError: one cannot be read, or differs from the first in rate or length.
    """
    waves, rates = zip(*(read_audio(path) for path in paths), strict=True)
    for path, wave, rate in zip(paths, waves, rates, strict=True):
        if rate != rates[0]:
            raise UserError(
                f"{path} and {paths[0]} differ in sample rate",
                expected=f"{rates[0]} Hz",
                found=f"{rate} Hz",
                hint=f"resample it: ffmpeg -i {Path(path).name} -ar {rates[0]} resampled.wav",
            )
        if len(wave) != len(waves[0]):
            raise UserError(
                f"{path} and {paths[0]} differ in length",
                expected=f"{len(waves[0])} samples",
                found=f"{len(wave)} samples",
                hint="estimates must be aligned with their references sample by sample: cut all to one length",
            )
    return torch.stack(waves), rates[0]


def _write(file: IO[str], references: Sequence[str], estimates: Sequence[str], scores: Scores) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["reference", "estimate", *scores.columns])
    for i, reference in enumerate(references):
        values = [f"{column[i]:.4f}" for column in scores.columns.values()]
        writer.writerow([reference, estimates[scores.order[i]], *values])
