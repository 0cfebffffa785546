"""``gated speech``: a table of strings, so that ``--help`` imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from gated.cli.main import dispatch, training_commands

COMMANDS = {
    "fit": ("tasks.speech.cli:fit", "train a separator on a folder of recordings"),
    "validate": ("tasks.speech.cli:validate", "judge a checkpoint on the validation speakers"),
    "test": ("tasks.speech.cli:test", "judge a checkpoint on the test speakers"),
    "separate": ("tasks.speech.infer:main", "separate recordings: one file a voice"),
    "score": ("tasks.speech.score:main", "SI-SDR, SDR and STOI of estimates, as CSV"),
}

LINKS = [("data.num_speakers", "model.init_args.net.init_args.num_speakers")]

fit, validate, test = training_commands("speech", LINKS)


def main(argv: Sequence[str]) -> int:
    """Run one command of the table."""
    return dispatch("gated speech", COMMANDS, argv)
