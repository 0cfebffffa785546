"""The front door: a table of strings, so that ``gated --help`` imports no torch and answers at once."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from gated import __version__
from gated.errors import UserError, did_you_mean

COMMANDS = {
    "demo": ("gated.cli.demo:main", "the three main jobs on real data that ships with the package, and a report"),
    "vision": ("tasks.vision.cli:main", "classify and segment images (fit, predict, explain, ...)"),
    "speech": ("tasks.speech.cli:main", "separate the voices of a recording (fit, separate, score, ...)"),
    "timeseries": ("tasks.timeseries.cli:main", "forecast the columns of a CSV (fit, forecast, ...)"),
    "models": ("gated.cli.info:models", "list the models that `gated.create_model` knows"),
    "mixers": ("gated.cli.info:mixers", "list the token mixers that fit into every model"),
    "ops": ("gated.cli.info:ops", "list the operations, their forms and what runs here"),
    "configs": ("gated.cli.info:configs", "list the configs that ship, or copy one to edit it"),
    "doctor": ("gated.cli.info:doctor", "show versions and what this machine can do"),
}

EXIT_DONE, EXIT_BUG, EXIT_USER = 0, 1, 2


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are a :class:`UserError` that names near misses of a mistyped option."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Name a mistyped option first: argparse would complain that the right one is missing."""
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        for word in args if args is not None else sys.argv[1:]:
            name = word.partition("=")[0]
            if name.startswith("--") and name != "--" and not any(option.startswith(name) for option in known):
                raise UserError(
                    f"{self.prog}: unknown option {name!r}",
                    hint=f"{did_you_mean(name, known)} `{self.prog} --help` shows all options",
                )
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise UserError(f"{self.prog}: {message}", hint=f"`{self.prog} --help` shows all options")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (0 done, 2 the user can mend it, 1 a bug)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    argv = [a for a in argv if a != "--debug"]
    try:
        return dispatch("gated", COMMANDS, argv)
    except UserError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output has gone (`gated models | head`): leave without a second complaint at shutdown
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except Exception:
        if debug:
            raise
        traceback.print_exc()
        print("This is a bug in gated: please report it with the lines above.", file=sys.stderr)
        return EXIT_BUG


def dispatch(prog: str, commands: Mapping[str, tuple[str, str]], argv: Sequence[str]) -> int:
    """Run ``argv[0]`` of a table ``command -> ("module:function", help)`` with the rest of ``argv``.

    Raises:
        UserError: no such command.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_help(prog, commands))
        return EXIT_DONE
    if argv[0] == "--version" and prog == "gated":
        print(f"gated {__version__}")
        return EXIT_DONE
    name = argv[0]
    if name not in commands:
        what = "option" if name.startswith("-") else "command"
        raise UserError(
            f"{prog}: unknown {what} {name!r}", hint=f"{did_you_mean(name, commands)} `{prog} --help` shows all"
        )
    module, function = commands[name][0].split(":")
    if module.startswith("tasks."):
        from gated.registry import check_tasks_is_ours

        check_tasks_is_ours()
    code = getattr(import_module(module), function)(list(argv[1:]))
    return EXIT_DONE if code is None else int(code)


def training_commands(task: str, links: Sequence[tuple[str, str]]) -> list[Callable[[list[str]], int]]:
    """Return the commands ``fit``, ``validate`` and ``test`` of a task; Lightning is imported when one of them runs.

    Args:
        task: folder below ``tasks``.
        links: see :func:`gated.cli.lightning_cli.run_lightning`.
    """

    def command(stage: str) -> Callable[[list[str]], int]:
        def run(argv: list[str]) -> int:
            from gated.cli.lightning_cli import run_lightning

            return run_lightning([stage, *argv], task=task, links=links)

        return run

    return [command(stage) for stage in ("fit", "validate", "test")]


def _help(prog: str, commands: Mapping[str, tuple[str, str]]) -> str:
    width = max(map(len, commands))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in commands.items())
    intro = "Gated attention for images, voices and time series.\n\n" if prog == "gated" else ""
    tail = f"\n\n`{prog} COMMAND --help` shows the options of a command. `--debug` shows the traceback of an error."
    return f"usage: {prog} COMMAND ...\n\n{intro}commands:\n{rows}{tail}"


if __name__ == "__main__":
    raise SystemExit(main())
