"""``gated speech``: a table of strings, so that ``--help`` imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from gated.cli.main import dispatch

COMMANDS = {
    "fit": ("tasks.speech.cli:fit", "train a separator on a folder of recordings"),
    "validate": ("tasks.speech.cli:validate", "judge a checkpoint on the validation speakers"),
    "test": ("tasks.speech.cli:test", "judge a checkpoint on the test speakers"),
    "separate": ("tasks.speech.infer:main", "separate recordings: one file a voice"),
    "score": ("tasks.speech.score:main", "SI-SDR, SDR and STOI of estimates, as CSV"),
}

LINKS = [("data.num_speakers", "model.init_args.net.init_args.num_speakers")]


def main(argv: Sequence[str]) -> int:
    """Run one command of the table."""
    return dispatch("gated speech", COMMANDS, argv)


def fit(argv: list[str]) -> int:
    """Train."""
    return _lightning("fit", argv)


def validate(argv: list[str]) -> int:
    """Judge on the validation part."""
    return _lightning("validate", argv)


def test(argv: list[str]) -> int:
    """Judge on the test part."""
    return _lightning("test", argv)


def _lightning(stage: str, argv: list[str]) -> int:
    from gated.cli.lightning_cli import run_lightning

    return run_lightning([stage, *argv], task="speech", links=LINKS)
