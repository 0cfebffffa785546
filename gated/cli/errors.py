"""Turning a parser's complaint into one message: which key, what is wrong with it, what was probably meant."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from gated.errors import UserError, did_you_mean
from gated.registry import import_class


def explain_parser_error(error: Exception, prog: str, top_level: Iterable[str] = ()) -> UserError | None:
    """Return a UserError for an error of jsonargparse, without its usage block, Python types and union noise.

    Args:
        error: what was raised.
        prog: the command, for the message.
        top_level: the options that the command itself takes.

    Returns:
        None if ``error`` is none of the user's making.
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return cause
    text = "\n".join(str(cause) for cause in chain)
    key = _key(str(error))
    help_ = f"`{prog} --help` shows all options"

    if match := re.search(r"[Oo]ption '([^']+)' is not accepted", text):
        option = match[1].split(".")[-1]
        owners = re.findall(r"class_path '([^']+)'", text)
        if owners:
            owner = import_class(owners[-1])
            valid = [n for n in inspect.signature(owner.__init__).parameters if n != "self"]
            return UserError(f"{prog}: {owner.__name__} has no option {option!r}", hint=did_you_mean(option, valid))
        return UserError(f"{prog}: unknown option {match[1]!r}", hint=f"{did_you_mean(match[1], top_level)} {help_}")
    if match := re.search(r"[Uu]nrecognized arguments: (\S+)", text):
        option = match[1].split("=")[0].lstrip("-")
        return UserError(f"{prog}: unknown option '--{option}'", hint=f"{did_you_mean(option, top_level)} {help_}")
    if match := re.search(r"Expected a path but (\S+) either not accessible", text):
        return UserError(
            f"{prog}: no class named {match[1]!r}" + (f" for {key}" if key else ""),
            expected="a class name or a dotted path",
            hint=did_you_mean(match[1], _class_names()),
        )
    if match := re.search(r"Expected a(?:n)? <class '([^']+)'>\. Got value: (.*)", text):
        return UserError(
            f"{prog}: {key or 'an option'} has the wrong type", expected=match[1], found=match[2][:200], hint=help_
        )
    if match := re.search(r'[Kk]ey "([^"]+)" is required', text):
        return UserError(f"{prog}: --{match[1]} is missing", hint=f"add it; {help_}")
    if type(error).__name__ == "ArgumentError":
        lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("usage:")]
        return UserError(f"{prog}: {lines[0] if lines else error}", found=" ".join(lines[1:])[:400], hint=help_)
    return None


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _key(text: str) -> str:
    """Join the nested ``Parser key "model": ... Parser key "net": ...`` to ``model.net``."""
    return ".".join(re.findall(r'[Pp]arser key "([^"]+)"', text))


def _class_names() -> list[str]:
    from gated.core.mixers import list_mixers
    from gated.registry import TASKS, import_module

    names = list_mixers()
    for task in TASKS:
        for package in (f"tasks.{task}", f"tasks.{task}.models"):
            names += [n for n in getattr(import_module(package), "__all__", []) if n[:1].isupper()]
    return names
