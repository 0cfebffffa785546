"""Finding configs by name: a file on disk first, then the ones that ship."""

from __future__ import annotations

from pathlib import Path

from gated.errors import UserError, did_you_mean


def shipped_root() -> Path:
    """Return the folder of the configs that ship: inside the wheel, or the checkout's ``configs/``."""
    package = Path(__file__).resolve().parent
    packaged = package / "_configs"
    return packaged if packaged.is_dir() else package.parent / "configs"


def shipped_names() -> list[str]:
    """Return names such as ``"vision/convit_digits"``."""
    root = shipped_root()
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))


def find_config(name: str, task: str | None = None) -> Path:
    """Return the file of a config given as a path, ``task/name``, or (with ``task``) just ``name``.

    Raises:
        UserError: there is no such file or name.
    """
    path = Path(name)
    if path.is_file():
        return path
    for candidate in (name, f"{task}/{name}" if task else name):
        shipped = shipped_root() / f"{candidate.removesuffix('.yaml')}.yaml"
        if shipped.is_file():
            return shipped
    raise UserError(
        f"config not found: {name}",
        expected="a YAML file, or the name of a config that ships",
        hint=f"{did_you_mean(name, shipped_names())} `gated configs` lists them",
    )
