"""Recordings in, one recording a voice out; and how good they are."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import gated
from gated.cli.main import main
from gated.engine.checkpoint import save_weights
from gated.errors import UserError
from tasks.speech.levels import fit_level, limit
from tasks.speech.models import MossFormer
from tasks.speech.stitch import stitch, window_starts


def voices(length: int = 24_000) -> torch.Tensor:
    """Two voices that differ in pitch and come and go."""
    t = torch.arange(length) / 8000
    low = torch.sin(2 * torch.pi * 150 * t) * (0.6 + 0.4 * torch.sin(2 * torch.pi * 0.7 * t))
    high = torch.sin(2 * torch.pi * 900 * t) * (0.6 + 0.4 * torch.cos(2 * torch.pi * 1.1 * t))
    return torch.stack((low, high)) * 0.4


class Oracle:
    """Separates perfectly, but answers in another order every time, as a network may."""

    def __init__(self, truth: torch.Tensor, window: int, overlap: int) -> None:
        self.truth, self.starts, self.calls = truth, window_starts(truth.shape[1], window, overlap), 0

    def __call__(self, piece: torch.Tensor) -> torch.Tensor:
        start = self.starts[self.calls]
        self.calls += 1
        found = self.truth[:, start : start + len(piece)]
        torch.testing.assert_close(found.sum(0), piece)
        return found.flip(0) if self.calls % 2 == 0 else found


@pytest.mark.parametrize("overlap", [200, 1000, 1900])
def test_voices_keep_their_row_over_windows_and_weights_sum_to_one(overlap: int) -> None:
    truth = voices(9_001)
    oracle = Oracle(truth, 2_000, overlap)
    out = stitch(oracle, truth.sum(0), window=2_000, overlap=overlap)
    assert oracle.calls > 4
    torch.testing.assert_close(out, truth, atol=1e-5, rtol=0)


def test_a_silent_overlap_does_not_swap_the_voices() -> None:
    truth = voices(12_000)
    truth[:, 4_500:7_500] = 0
    out = stitch(Oracle(truth, 3_000, 1_000), truth.sum(0), window=3_000, overlap=1_000)
    torch.testing.assert_close(out, truth, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1, 99, 100, 101, 150, 999])
def test_windows_cover_every_sample(length: int) -> None:
    starts = window_starts(length, 100, 30)
    covered = torch.zeros(length, dtype=torch.bool)
    for start in starts:
        covered[start : start + 100] = True
    assert covered.all()
    assert starts[-1] + 100 == length or starts == [0]


def test_levels_bring_the_sum_to_the_mixture_and_never_clip() -> None:
    truth = voices()
    scaled = truth * torch.tensor([[0.5], [2.0]])
    torch.testing.assert_close(fit_level(scaled, truth.sum(0)), truth, atol=1e-4, rtol=0)
    loud = limit(5 * truth, 1.0)
    assert float(loud.abs().max()) == pytest.approx(1.0)
    torch.testing.assert_close(loud / loud.norm(), truth / truth.norm())
    assert torch.equal(limit(truth, 1.0), truth)


@pytest.mark.parametrize(("rate", "length"), [(8000, 1), (8000, 17), (16000, 20_001), (44_100, 50_000), (8000, 30_000)])
def test_any_rate_and_length_come_back_as_they_were(rate: int, length: int) -> None:
    out = gated.separate(0.1 * torch.randn(length), rate)
    assert out.shape == (2, length)
    assert torch.isfinite(out).all()
    assert float(out.abs().max()) <= 1.0


def test_silence_is_silence_and_stereo_is_averaged() -> None:
    assert torch.equal(gated.separate(torch.zeros(9000), 8000), torch.zeros(2, 9000))
    mono = 0.1 * torch.randn(4000)
    stereo = torch.stack((mono * 2, mono * 0))
    torch.testing.assert_close(gated.separate(stereo, 8000), gated.separate(mono, 8000))


def test_the_shipped_network_separates_two_voices_that_it_never_saw() -> None:
    from tasks.speech.demo import two_voices
    from tasks.speech.score import score

    references, rate = two_voices()
    found = score(gated.separate(references.sum(0), rate), references, references.sum(0), sample_rate=rate)
    assert found.mean("si_sdri") >= 2.0
    average = gated.load(Path(gated.__file__).parents[1] / "tasks/speech/assets/mossformer_demo").facts["test_si_sdri"]
    assert average >= 2.0


def test_piece_by_piece_is_as_good_as_in_one_pass() -> None:
    from tasks.speech.demo import two_voices
    from tasks.speech.score import score

    references, rate = two_voices()
    mixture = references.sum(0)
    gains = [
        score(gated.separate(mixture, rate, segment=seconds), references, mixture, sample_rate=rate).mean("si_sdri")
        for seconds in (float("inf"), 3.0)
    ]
    assert abs(gains[0] - gains[1]) <= 1.0


@pytest.mark.parametrize(
    ("wave", "rate", "words"),
    [
        (torch.zeros(2, 3, 4), 8000, "wrong shape"),
        (torch.zeros(4, dtype=torch.int16), 8000, "whole numbers"),
        (torch.full((4,), float("nan")), 8000, "not numbers"),
        (torch.zeros(4), 0, "sample_rate"),
    ],
    ids=["shape", "int16", "nan", "rate"],
)
def test_waves_that_do_not_do(wave: torch.Tensor, rate: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        gated.separate(wave, rate)


@pytest.fixture
def talk(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, wave in zip(("low", "high"), voices(16_000), strict=True):
        soundfile.write(f"{name}.wav", wave.numpy(), 8000)
    soundfile.write("talk.wav", voices(16_000).sum(0).numpy(), 8000)
    return tmp_path


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_separate_writes_one_file_a_voice_named_by_the_template(talk: Path, suffix: str, capsys) -> None:
    assert main(["speech", "separate", "talk.wav", "-o", f"out/{{track}}-{{speaker}}.{suffix}"]) == 0
    written = sorted(p.name for p in (talk / "out").iterdir())
    assert written == [f"talk-1.{suffix}", f"talk-2.{suffix}"]
    assert soundfile.info(talk / "out" / written[0]).frames == 16_000
    assert f"talk-1.{suffix}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["talk.wav", "--num-speakers", "3"], ["separates 2 voices, not 3"]),
        (["nowhere.wav"], ["recording not found: nowhere.wav"]),
        (["talk.wav", "empty.wav"], ["empty.wav holds no samples"]),
        (["talk.wav", "text.wav"], ["cannot read text.wav"]),
        (["talk.wav", "-o", "one.wav"], ["several voices would be written to one file"]),
        (["talk.wav", "-o", "{track}_{speakr}.wav"], ["{track} and {speaker}"]),
        (["talk.wav", "-o", "{track}_{speaker}.mp3"], ["cannot write", ".wav"]),
        (["talk.wav", "--ckpt", "nowhere"], ["checkpoint not found"]),
        (["talk.wav", "--segmnt", "3"], ["unknown option '--segmnt'", "--segment"]),
    ],
    ids=lambda v: "" if isinstance(v[0], str) and " " in v[0] else "_".join(v)[:30],
)
def test_mistakes_are_one_message_and_write_nothing(talk: Path, argv: list[str], words: list[str], capsys) -> None:
    soundfile.write("empty.wav", np.zeros(0), 8000)
    Path("text.wav").write_text("not sound")
    before = sorted(talk.iterdir())
    assert main(["speech", "separate", *argv]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert sorted(talk.iterdir()) == before


def test_a_checkpoint_of_the_user_is_used(talk: Path) -> None:
    net = MossFormer(3, 8, depth=1, encoder_dim=8)
    save_weights(net, {"sample_rate": 8000, "num_speakers": 3}, "mine")
    assert main(["speech", "separate", "talk.wav", "--ckpt", "mine", "--num-speakers", "3"]) == 0
    assert len(list((talk / "out").iterdir())) == 3


def test_score_finds_the_order_and_writes_a_csv(talk: Path, capsys) -> None:
    assert main(["speech", "score", "high.wav", "low.wav", "--ref", "low.wav", "high.wav", "--mix", "talk.wav"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["estimate"] for row in rows] == ["low.wav", "high.wav"]
    assert all(float(row["si_sdr"]) > 60 and float(row["si_sdri"]) > 55 for row in rows)
    assert main(["speech", "score", "low.wav", "--ref", "low.wav", "-o", "scores.csv"]) == 0
    assert "si_sdr" in Path("scores.csv").read_text()


def test_score_refuses_what_cannot_be_compared(talk: Path, capsys) -> None:
    soundfile.write("short.wav", np.ones(5), 8000)
    soundfile.write("fast.wav", np.ones(16_000), 16_000)
    for estimate, words in (("short.wav", "differ in length"), ("fast.wav", "differ in sample rate")):
        assert main(["speech", "score", estimate, "--ref", "low.wav"]) == 2
        assert words in capsys.readouterr().err
    assert main(["speech", "score", "low.wav", "high.wav", "--ref", "low.wav"]) == 2
    assert "expected: 2" in capsys.readouterr().err
