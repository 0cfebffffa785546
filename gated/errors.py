"""The one exception that means "the user can mend this": the command line prints it and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the caller can mend.

    Args:
        what: what went wrong, one sentence.
        expected: what would have been right.
        found: what was there instead.
        hint: what to do next, an imperative.
    """

    def __init__(self, what: str, *, expected: str = "", found: str = "", hint: str = "") -> None:
        self.what, self.expected, self.found, self.hint = what, expected, found, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        """The message, one line a part; parts that were not given are left out."""
        parts = [self.what]
        parts += [f"  expected: {self.expected}"] if self.expected else []
        parts += [f"  found:    {self.found}"] if self.found else []
        parts += [f"  do this:  {self.hint}"] if self.hint else []
        return "\n".join(parts)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``"did you mean 'x'?"`` for a near miss, else the list of valid names (cut after twelve)."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "choose one of: " + ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
