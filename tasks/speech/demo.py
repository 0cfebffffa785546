"""The speech part of ``gated demo``: two people talk at once, and the network that ships pulls them apart."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from rich.progress import Progress

from gated.engine.report import Section
from tasks.speech.audio import read_audio, write_audio
from tasks.speech.figures import plot_separation
from tasks.speech.infer import SHIPPED, separate, separator
from tasks.speech.score import score

VOICES = {"woman": "7635", "man": "8063"}
"""The first woman and the first man of the test speakers, in the order of their numbers; see assets/README.md."""


def run(out: Path) -> Section:
    """Mix two voices that the network never heard, separate them, measure, and write sound and picture.

    Args:
        out: folder for the WAV files and the spectrograms.
    """
    net = separator(SHIPPED)
    references, rate = two_voices()
    mixture = references.sum(0)
    with Progress() as bars:
        bar = bars.add_task("separating two voices", total=1.0)
        started = time.process_time()  # of all threads together: what one core would take
        voices = separate(mixture, rate, net=net, progress=lambda share: bars.update(bar, completed=share))
        seconds = time.process_time() - started
    scores = score(voices, references, mixture, sample_rate=rate)
    voices = voices[scores.order]

    audio = [(write_audio(out / "mixture.wav", mixture, rate), "Both at once: what the network is given.")]
    for name, voice, reference in zip(VOICES, voices, references, strict=True):
        audio.append((write_audio(out / f"{name}_separated.wav", voice, rate), f"The {name}, separated."))
        audio.append((write_audio(out / f"{name}_recorded.wav", reference, rate), f"The {name}, as recorded."))
    pairs = zip((f"The {name}" for name in VOICES), zip(voices, references, strict=True), strict=True)
    picture = plot_separation(("The mixture", mixture), dict(pairs), out / "spectrograms.png", sample_rate=rate)

    before, gain = scores.mean("si_sdr") - scores.mean("si_sdri"), scores.mean("si_sdri")
    metrics: dict[str, float | str] = {"SI-SDR of the mixture (dB)": round(before, 2)}
    metrics["SI-SDR improvement (dB)"] = round(gain, 2)
    for name, value in zip(VOICES, scores.columns["si_sdri"], strict=True):
        metrics[f"improvement of the {name} (dB)"] = round(value, 2)
    metrics["seconds on one core"] = round(seconds, 2)
    average = net.facts.get("test_si_sdri")
    if average is not None:
        metrics["average over unseen speakers (dB)"] = round(float(average), 2)
    return Section(
        "Speech: two voices pulled apart",
        f"A woman and a man read aloud at the same time and equally loud, {mixture.shape[-1] / rate:.0f} seconds of "
        f"LibriSpeech (CC BY 4.0) at {rate // 1000} kHz. The network, a MossFormer of "
        f"{sum(p.numel() for p in net.parameters()):,} weights that ships with the package, heard neither of them "
        f"in training; they are the first woman and the first man of the test speakers, not a chosen pair.\n\n"
        f"{what_one_hears(gain)} {on_average(gain, average)}",
        metrics=metrics,
        figures=[
            (
                picture,
                "Level over time and frequency, all on one colour scale. What is in a separated voice (left) and not "
                "in the recording beside it is left of the other voice.",
            )
        ],
        audio=audio,
    )


def two_voices() -> tuple[torch.Tensor, int]:
    """Return the voices ``[2, T]``, equally loud and such that neither they nor their sum exceed 0.9, and the rate."""
    waves, rates = zip(*(read_audio(SHIPPED.parent / "voices" / f"{v}.flac") for v in VOICES.values()), strict=True)
    voices = torch.stack(waves)
    voices = voices / voices.square().mean(1, keepdim=True).sqrt()
    peak = max(voices.abs().amax().item(), voices.sum(0).abs().amax().item())
    return voices * (0.9 / peak), rates[0]


def what_one_hears(gain: float) -> str:
    """Say in words what an improvement of ``gain`` decibel sounds like."""
    if gain < 1:
        return "On this pair the network did next to nothing: both outputs still hold both voices."
    if gain < 4:
        return (
            "What to expect: each output brings one voice forward and turns the other down, but both are still there "
            "to be heard. A larger network, trained for days on a GPU, reaches 15 to 20 dB: the other voice is gone."
        )
    if gain < 9:
        return (
            "What to expect: one voice leads in each output; the other is much quieter, and still there to be heard. A "
            "larger network trained for days on a GPU reaches 15 to 20 dB, where the other voice is gone."
        )
    return "What to expect: one voice in each output, and little left of the other."


def on_average(gain: float, average: float | None) -> str:
    """Compare this pair with the average, where the checkpoint knows one."""
    if average is None:
        return "One pair says little about a network: `gated speech test` measures many."
    place = "below" if gain < average - 0.5 else "above" if gain > average + 0.5 else "close to"
    return (
        f"This pair is {place} the average of {average:.1f} dB over mixtures of speakers that were set apart, where "
        "pairs of one sex, harder than a woman and a man, are in it."
    )
