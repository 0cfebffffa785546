"""``gated timeseries``: a table of strings, so that ``--help`` imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from gated.cli.main import dispatch, training_commands

COMMANDS = {
    "forecast": ("tasks.timeseries.predict:main", "a CSV in, the rows that follow out, and how far to trust them"),
    "fit": ("tasks.timeseries.cli:fit", "train a forecaster on a CSV"),
    "validate": ("tasks.timeseries.cli:validate", "judge a checkpoint on the validation rows"),
    "test": ("tasks.timeseries.cli:test", "judge a checkpoint on the held-out rows"),
}

_NET = "model.init_args.net.init_args"
LINKS = [("data.input_size", f"{_NET}.input_size"), ("data.horizon", f"{_NET}.horizon")]

fit, validate, test = training_commands("timeseries", LINKS)


def main(argv: Sequence[str]) -> int:
    """Run one command of the table."""
    return dispatch("gated timeseries", COMMANDS, argv)
