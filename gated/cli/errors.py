"""Turning a parser's complaint into one message: which key, what is wrong with it, what was probably meant."""

from __future__ import annotations

import re

from gated.errors import UserError


def explain_parser_error(error: Exception, prog: str) -> UserError:
    """Return a UserError for an error of jsonargparse (its usage block, tracebacks and union noise left out)."""
    if isinstance(error.__cause__, UserError):
        return error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("usage:", "tip:"))]
    what = lines[0] if lines else type(error).__name__
    rest = " ".join(lines[1:])
    return UserError(f"{prog}: {what}", found=rest[:600], hint=f"`{prog} --help` shows all options")
