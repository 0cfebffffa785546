"""Mixtures made while training: who is heard, how loud, and the same again from the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from gated.errors import UserError
from tasks.speech.data import Mixtures
from tasks.speech.mixing import MixtureRecipe, mix
from tasks.speech.recordings import scan_speakers, split_speakers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("voices")
    for i in (1, 2, 9, 10, 11, 100):
        random = np.random.default_rng(i)
        soundfile.write(root / f"{i}-7-0000.flac", 0.1 * random.standard_normal(6000), 8000)
    return root


def data(folder: Path, **options) -> Mixtures:
    defaults = {"val_speakers": 2, "test_speakers": 2, "seconds": 0.25, "train_mixtures": 6, "val_mixtures": 3}
    return Mixtures(str(folder), **{**defaults, **options})


def test_speakers_are_split_in_the_order_of_their_numbers_and_never_shared(folder: Path) -> None:
    parts = data(folder).parts
    assert {part: list(speakers) for part, speakers in parts.items()} == {
        "train": ["1", "2"],
        "val": ["9", "10"],
        "test": ["11", "100"],
    }


def test_speakers_are_sub_folders_or_the_start_of_a_name(tmp_path: Path) -> None:
    for name in ("ann/x.wav", "ann/deep/y.wav", "bob/z.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.ones(10), 8000)
    found = scan_speakers(tmp_path)
    assert {speaker: len(files) for speaker, files in found.items()} == {"ann": 2, "bob": 1}
    assert list(split_speakers(found, 1, 1)["val"]) == ["ann"]


def test_a_mixture_is_the_sum_of_its_sources_and_repeats_from_its_seed(folder: Path) -> None:
    first, again, other = (data(folder, seed=seed).fixed("val") for seed in (0, 0, 1))
    for i in range(3):
        mixture, sources = first[i]
        assert sources.shape == (2, 2000)
        torch.testing.assert_close(sources.sum(0), mixture)
        assert float(mixture.abs().max()) <= 0.9 + 1e-6
        assert torch.equal(again[i][1], sources)
    assert torch.equal(other[0][1], first[0][1])  # the validation set is fixed: runs of other seeds are comparable


def test_every_epoch_brings_new_mixtures(folder: Path) -> None:
    class Trainer:
        current_epoch = 0
        max_epochs = 3
        reload_dataloaders_every_n_epochs = 1

    module = data(folder, batch_size=6)
    module.trainer = Trainer()
    epochs = []
    for module.trainer.current_epoch in (0, 1, 0):
        (batch,) = module.train_dataloader()
        epochs.append(batch[0])
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])
    module.trainer.reload_dataloaders_every_n_epochs = 0
    with pytest.raises(UserError, match="reload_dataloaders_every_n_epochs: 1"):
        module.train_dataloader()


def test_levels_stay_within_the_range(folder: Path) -> None:
    speakers = scan_speakers(folder)
    recipe = MixtureRecipe(2, 8000, 0.25, level_range=2.5)
    for seed in range(20):
        sources = mix([speakers["1"][0], speakers["2"][0]], recipe, np.random.default_rng(seed))
        levels = 20 * sources.square().mean(1).sqrt().log10()
        assert abs(float(levels[0] - levels[1])) <= 5.0 + 1e-3


def test_speed_keeps_the_length_and_other_rates_are_resampled(tmp_path: Path) -> None:
    t = np.arange(16000) / 16000
    soundfile.write(tmp_path / "a.wav", np.sin(2 * np.pi * 500 * t), 16000)
    (recording,) = scan_speakers(tmp_path)["a"]
    assert recording.length_at(8000) == 8000
    spectrum = np.abs(np.fft.rfft(recording.read(8000, 0, 8000)))
    assert abs(int(spectrum.argmax()) - 500) <= 1
    recipe = MixtureRecipe(1, 8000, 0.5, speeds=(90, 110))
    for seed in range(6):
        source = mix([recording], recipe, np.random.default_rng(seed))[0]
        peak = np.abs(np.fft.rfft(source.numpy())).argmax() * 2
        assert min(abs(peak - 450), abs(peak - 550)) <= 4


def test_a_short_recording_is_padded(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 0.5 * np.ones(100), 8000)
    (recording,) = scan_speakers(tmp_path)["a"]
    source = mix([recording], MixtureRecipe(1, 8000, 0.1), np.random.default_rng(0))
    assert source.shape == (1, 800)
    assert not source[0, 100:].any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "no recordings below"),
        (lambda p: (p / "a.wav").write_bytes(b"not sound"), "cannot read"),
        (lambda p: soundfile.write(p / "a.wav", np.zeros(0), 8000), "holds no samples"),
        (lambda p: soundfile.write(p / "a.wav", np.ones(100), 8000), "too few speakers in the train part"),
    ],
    ids=["empty folder", "not sound", "no samples", "one speaker"],
)
def test_folders_that_do_not_do(tmp_path: Path, make, words: str) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match=words):
        Mixtures(str(tmp_path), val_speakers=0, test_speakers=0)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"--data\.root"):
        Mixtures("nowhere")
