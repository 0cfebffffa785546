"""Files appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gated.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); rename it to ``path`` on success, remove it on failure.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:
        raise UserError(f"cannot write {path}", found=str(error), hint="choose another output path") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp is private to the user; a result need not be
        try:
            temporary.replace(path)
        except OSError as error:
            raise UserError(f"cannot write {path}", found=str(error), hint="choose another output path") from None
    finally:
        temporary.unlink(missing_ok=True)


def existing_file(path: str | Path, what: str) -> Path:
    """Return ``path`` if it is a file, else raise.

    Args:
        path: where the user says the file is.
        what: what the file is, for the message, such as ``"checkpoint"``.

    Raises:
        UserError: there is no such file; the message names the nearest folder that exists.
    """
    path = Path(path)
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"{what}: {path} is a folder", expected="a file", hint="give the path of one file")
    if path.exists() or str(path) == "-":
        raise UserError(
            f"{what}: {path} is no file",
            expected="a file, which can be read more than once",
            found="standard input, a pipe or a device",
            hint="save it to a file first and give its path",
        )
    parent = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
    raise UserError(
        f"{what} not found: {path}",
        expected="a file",
        found=f"nothing there (the nearest folder that exists is {parent})",
        hint="check the path",
    )
