"""Recordings in, one recording a voice out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import nn

from gated.cli.main import Parser
from gated.engine.checkpoint import load
from gated.errors import UserError
from tasks.speech.audio import probe, read_audio, resample, writable, write_audio
from tasks.speech.levels import fit_level, limit
from tasks.speech.outputs import plan_outputs
from tasks.speech.stitch import stitch

SHIPPED = Path(__file__).parent / "assets" / "mossformer_demo"
"""The checkpoint that ships with the package."""
SEGMENT = 8.0
"""Seconds separated in one piece by a network that does not know how long its training mixtures were."""
OVERLAP = 0.5
"""Share of a segment that neighbours have in common."""
MAX_CHANNELS = 32


def separate(
    wave: torch.Tensor | np.ndarray,
    sample_rate: int,
    *,
    net: nn.Module | None = None,
    ckpt: str | Path | None = None,
    num_speakers: int | None = None,
    segment: float | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> torch.Tensor:
    """Separate the voices of a recording; available as ``gated.separate``.

    Any length and any rate: the recording is resampled for the network and its voices are resampled back. Long ones are
    separated in overlapping segments whose voices are put into one order (:mod:`tasks.speech.stitch`).

    A network that was trained on a scale-invariant measure leaves the level of its outputs open. Each voice is scaled
    so that the sum of the voices comes closest to the recording; if one would then exceed the full scale, all are
    turned down together.

    Args:
        wave: samples ``[T]``, or ``[channels, T]``, whose channels are averaged.
        sample_rate: hertz.
        net: a separator from :func:`gated.load`.
        ckpt: a checkpoint to load instead; by default the one that ships with the package (two voices, 8 kHz).
        num_speakers: voices that are expected; an error if the network separates another number.
        segment: seconds that are separated in one piece; by default as long as the mixtures of the training, since a
            network is at its best there (``inf`` never cuts).
        progress: called with the share that is done, 0 to 1.

    Returns:
        The voices ``[speakers, T]``, fp32, on the CPU.

    Raises:
        UserError: the samples, the rate, the segment or the checkpoint do not fit.

    Example:
        >>> import gated
        >>> gated.separate(torch.randn(4000), 16000).shape
        torch.Size([2, 4000])
    """
    if net is not None and ckpt is not None:
        raise UserError("separate: give a network or a checkpoint, not both", hint="leave out net= or ckpt=")
    mixture = as_mono(wave)
    if not isinstance(sample_rate, (int, np.integer)) or sample_rate < 1:
        raise UserError("separate: sample_rate must be a positive whole number", found=repr(sample_rate))
    net = separator(ckpt or SHIPPED) if net is None else net
    rate = check_separator(net, num_speakers)
    window = segment_samples(segment, net)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    heard = resample(mixture, int(sample_rate), rate).to(device)
    peak = heard.abs().amax() if len(heard) else heard.new_zeros(())
    if peak == 0:
        progress(1.0)
        return mixture.new_zeros(net.num_speakers, len(mixture))
    with torch.inference_mode():
        # the network's norms have an epsilon: near full scale, as in training, it never matters
        voices = stitch(
            lambda piece: whole_frames(net, piece),
            heard * (0.9 / peak),
            window=window,
            overlap=round(window * OVERLAP),
            progress=progress,
        )
    voices = resample(voices.cpu(), rate, int(sample_rate))
    voices = F.pad(voices, (0, len(mixture) - voices.shape[-1]))
    return limit(fit_level(voices, mixture), max(1.0, float(mixture.abs().amax())))


def main(argv: list[str]) -> int:
    """``gated speech separate``."""
    parser = Parser("gated speech separate", description="Separate the voices of recordings: one file a voice.")
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="recordings: wav, flac, ogg, mp3, aiff; any rate")
    parser.add_argument(
        "-o",
        "--out",
        default="out/{track}_{speaker}.wav",
        help="where to write; {track} is the name of the recording, {speaker} 1, 2, ...; wav or flac (%(default)s)",
    )
    parser.add_argument("--ckpt", default=SHIPPED, help="a .ckpt of a run, or a folder of weights (the one that ships)")
    parser.add_argument("--num-speakers", type=int, help="voices that are expected: checked against the checkpoint")
    parser.add_argument("--segment", type=float, help="seconds separated in one piece (as long as in training)")
    parser.add_argument("--bits", default="16", choices=["16", "24", "float"], help="of the samples written (16)")
    args = parser.parse_args(argv)
    net = separator(args.ckpt)
    check_separator(net, args.num_speakers)
    segment_samples(args.segment, net)
    tracks = [Path(name) for name in args.audio]
    for track in tracks:
        probe(track)
    plan = plan_outputs(tracks, args.out, net.num_speakers)
    for path in (path for paths in plan for path in paths):
        writable(path, args.bits)
    for track in tracks:
        read_audio(track)  # decoded once before anything is written, so that a damaged one stops nothing half-way

    with Progress(console=Console(stderr=True)) as bars:
        tasks = [bars.add_task(track.name, total=1.0) for track in tracks]
        for track, paths, bar in zip(tracks, plan, tasks, strict=True):
            wave, rate = read_audio(track)
            voices = separate(
                wave,
                rate,
                net=net,
                segment=args.segment,
                progress=lambda share, bar=bar: bars.update(bar, completed=share),
            )
            if args.bits != "float":
                voices = limit(voices, 1.0)
            for path, voice in zip(paths, voices, strict=True):
                write_audio(path, voice, rate, bits=args.bits)
    for path in (path for paths in plan for path in paths):
        print(path)
    return 0


def separator(ckpt: str | Path) -> nn.Module:
    """Load a checkpoint that separates voices.

    Raises:
        UserError: there is none, or it does something else.
    """
    net = load(ckpt)
    check_separator(net)
    return net


def check_separator(net: nn.Module, num_speakers: int | None = None) -> int:
    """Return the sample rate of a separator.

    Raises:
        UserError: the network is not a separator, or separates another number of voices than ``num_speakers``.
    """
    facts: dict[str, Any] = getattr(net, "facts", {})
    if "sample_rate" not in facts or not hasattr(net, "num_speakers"):
        raise UserError(
            "this checkpoint does not separate voices",
            expected="a checkpoint of `gated speech fit`",
            found=f"{type(net).__name__} with facts {sorted(facts)}",
        )
    if num_speakers is not None and num_speakers != net.num_speakers:
        raise UserError(
            f"the checkpoint separates {net.num_speakers} voices, not {num_speakers}",
            expected=f"--num-speakers {net.num_speakers}",
            found=str(num_speakers),
            hint=f"give a checkpoint that was trained with --data.num_speakers {num_speakers}",
        )
    return int(facts["sample_rate"])


def segment_samples(segment: float | None, net: nn.Module) -> int:
    """Return the samples of a segment, whole frames of ``net``; None means as long as in training.

    Raises:
        UserError: it is shorter than a quarter of a second.
    """
    segment = net.facts.get("seconds", SEGMENT) if segment is None else segment
    if not segment >= 0.25:
        raise UserError("the segment is too short", expected="at least 0.25 seconds", found=str(segment))
    if segment == float("inf"):
        return 2**62
    return max(net.kernel_size, round(segment * net.facts["sample_rate"]) // net.stride * net.stride)


def whole_frames(net: nn.Module, mixture: torch.Tensor) -> torch.Tensor:
    """Run ``net`` on ``[T]``, zero-padded so that whole frames cover every sample (twice), and return ``[S, T]``."""
    margin = net.kernel_size - net.stride
    short = max(0, net.kernel_size - len(mixture) - 2 * margin)
    tail = margin + short + -(len(mixture) + 2 * margin + short - net.kernel_size) % net.stride
    voices: torch.Tensor = net(F.pad(mixture, (margin, tail))[None])[0]
    return voices[:, margin : margin + len(mixture)]


def as_mono(wave: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Return ``[T]`` in fp32 on the CPU; channels are averaged.

    Raises:
        UserError: the shape is wrong, or a sample is not finite.
    """
    samples = torch.as_tensor(wave)
    if samples.dim() not in (1, 2) or (samples.dim() == 2 and not 1 <= samples.shape[0] <= MAX_CHANNELS):
        raise UserError(
            "the recording has the wrong shape",
            expected=f"[T], or [channels, T] with at most {MAX_CHANNELS} channels",
            found=str(list(samples.shape)),
            hint="soundfile reads [T, channels]: pass its transpose",
        )
    if not samples.is_floating_point():
        raise UserError(
            "the samples are whole numbers",
            expected="floats from -1 to 1",
            found=str(samples.dtype),
            hint="divide by the full scale, 32768 for 16 bits",
        )
    mono = samples.detach().cpu().float()
    mono = mono.mean(0) if mono.dim() == 2 else mono
    if not mono.isfinite().all():
        raise UserError("the recording has samples that are not numbers", expected="finite samples")
    return mono
