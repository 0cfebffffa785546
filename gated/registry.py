"""Names of models and how to build them; strings only, so that a name costs no import until it is used."""

from __future__ import annotations

import fnmatch
import functools
import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gated.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

TASKS = ("vision", "speech", "timeseries")


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of models that match a glob such as ``"convit*"``."""
    return [name for name in sorted(_table()) if fnmatch.fnmatch(name, pattern)]


def create_model(name: str, **kwargs: Any) -> nn.Module:
    """Build a model by name.

    Args:
        name: one of :func:`list_models`.
        **kwargs: options of the model's class, such as ``num_classes``; they override those of the name. A mixer is a
            class, ``functools.partial(Mixer, option=value)``, or ``{"class_path": ..., "init_args": {...}}``.

    Raises:
        UserError: the name or an option is unknown; the message names near misses.

    Example:
        >>> create_model("convit_tiny", num_classes=10)  # doctest: +SKIP
    """
    table = _table()
    if name not in table:
        raise UserError(f"unknown model {name!r}", hint=did_you_mean(name, table))
    path, defaults = table[name]
    return build({"class_path": path.replace(":", "."), "init_args": {**defaults, **kwargs}})


def build(spec: dict[str, Any], *, trusted: bool = True) -> nn.Module:
    """Build what a spec ``{"class_path", "init_args"}`` describes; specs inside become factories (mixers, gates).

    Args:
        spec: plain data.
        trusted: False for specs that come out of a file: only classes below ``gated.`` and ``tasks.`` then.

    Raises:
        UserError: the class cannot be found or is not allowed, or an option is unknown.
    """
    cls = import_class(spec["class_path"], trusted=trusted)
    options = {k: _factory(v, trusted) for k, v in spec.get("init_args", {}).items()}
    check_options(cls, options)
    net: nn.Module = cls(**options)
    return net


def import_class(path: str, *, trusted: bool = True) -> type:
    """Return the class at a dotted path.

    Raises:
        UserError: nothing there, or (``trusted=False``) the path lies outside this suite.
    """
    module_name, _, name = path.rpartition(".")
    if not trusted and not path.startswith(("gated.", "tasks.")):
        raise UserError(
            f"refused to import {path!r} on the word of a file", expected="a class below gated. or tasks.", found=path
        )
    if path.startswith("tasks."):
        check_tasks_is_ours()
    try:
        found = getattr(import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"cannot find the class {path!r}", found=str(error), hint="check the class_path") from None
    if not isinstance(found, type):
        raise UserError(f"{path!r} is not a class", found=type(found).__name__)
    return found


def check_options(cls: type, options: dict[str, Any]) -> None:
    """Raise a UserError that names a near miss if ``cls`` does not take one of ``options``."""
    valid = [n for n in inspect.signature(cls.__init__).parameters if n != "self"]
    for name in options:
        if name not in valid:
            raise UserError(f"{cls.__name__} has no option {name!r}", hint=did_you_mean(name, valid))


def check_tasks_is_ours() -> None:
    """Raise if the package ``tasks`` that Python finds is somebody else's (a ``tasks.py`` in this folder, say)."""
    import tasks

    if getattr(tasks, "__gated_dist__", None) != "gated":
        raise UserError(
            "another package named 'tasks' hides the one of this suite",
            found=str(getattr(tasks, "__file__", None) or list(getattr(tasks, "__path__", []))),
            hint="use the `gated` command rather than `python -m`, leave that folder, or uninstall that package",
        )


@functools.cache
def _table() -> dict[str, tuple[str, dict[str, Any]]]:
    check_tasks_is_ours()
    return {k: v for task in TASKS for k, v in import_module(f"tasks.{task}.registry").MODELS.items()}


def _factory(value: Any, trusted: bool) -> Any:
    """Turn a spec inside a spec into a factory: networks are handed classes to call, not finished parts."""
    if isinstance(value, dict) and "class_path" in value:
        cls = import_class(value["class_path"], trusted=trusted)
        options = value.get("init_args") or {}
        check_options(cls, options)
        return functools.partial(cls, **{k: _factory(v, trusted) for k, v in options.items()})
    return value
