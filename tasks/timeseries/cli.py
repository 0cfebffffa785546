"""``gated timeseries``: a table of strings, so that ``--help`` imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from gated.cli.main import dispatch, training_commands

COMMANDS = {
    "forecast": ("tasks.timeseries.commands:forecast", "a CSV in, the rows that follow out, and how far to trust them"),
    "backtest": ("tasks.timeseries.commands:backtest", "how good each method is on rows held out"),
    "check-data": ("tasks.timeseries.check:main", "what is read from a CSV, and what was repaired"),
    "fit": ("tasks.timeseries.cli:fit", "train a forecaster on a CSV"),
    "validate": ("tasks.timeseries.cli:validate", "judge a checkpoint on the validation rows"),
    "test": ("tasks.timeseries.cli:test", "judge a checkpoint on the held-out rows"),
}

_NET = "model.init_args.net.init_args"
LINKS = [
    (f"data.{name}", f"{_NET}.{name}") for name in ("input_size", "horizon", "num_past", "num_future", "num_static")
]

fit, validate, test = training_commands("timeseries", LINKS)


def main(argv: Sequence[str]) -> int:
    """Run one command of the table."""
    return dispatch("gated timeseries", COMMANDS, argv)
