"""Networks that remember what they were built with, so that a checkpoint can say how to build them again.

A *spec* is plain data, ``{"class_path": "tasks.vision.models.ConViT", "init_args": {...}}``: the same shape that a YAML
config uses. ``Buildable.spec()`` reads it off an instance and ``gated.registry.build`` turns it back into one.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

from torch import nn


class Buildable(nn.Module):
    """An ``nn.Module`` with :meth:`spec`: the class and the arguments it was built with, as plain data."""

    _init_args: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Buildable:
        """Record the constructor's arguments (copying an instance calls this without any and restores them after)."""
        self = super().__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        except TypeError:  # a wrong argument: __init__ is about to raise the better message
            return self
        bound.apply_defaults()
        # nn.Module.__init__ has not run yet, so plain attribute assignment would be refused.
        self.__dict__["_init_args"] = dict(list(bound.arguments.items())[1:])
        return self

    def spec(self) -> dict[str, Any]:
        """Return ``{"class_path", "init_args"}`` as plain data, fit for YAML, JSON and ``gated.registry.build``."""
        return {"class_path": public_path(type(self)), "init_args": {k: _plain(v) for k, v in self._init_args.items()}}


def public_path(cls: type) -> str:
    """Return the shortest import path under which ``cls`` can be had: files may move, public names stay."""
    parts = cls.__module__.split(".")
    for end in range(1, len(parts)):
        module = sys.modules.get(".".join(parts[:end]))
        if module is not None and module.__dict__.get(cls.__qualname__) is cls:
            return ".".join([*parts[:end], cls.__qualname__])
    return f"{cls.__module__}.{cls.__qualname__}"


def _plain(value: Any) -> Any:
    """Turn an argument into plain data; a factory (a class, or a partial of one) becomes a spec of its own."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, type):
        return {"class_path": public_path(value), "init_args": {}}
    if isinstance(value, functools.partial):
        # functools.partial(Mixer, heads=4), or jsonargparse's partial(instantiate, ..., Mixer, heads=4)
        classes = [a for a in (value.func, *value.args) if isinstance(a, type)]
        if classes:
            return {
                "class_path": public_path(classes[-1]),
                "init_args": {k: _plain(v) for k, v in value.keywords.items()},
            }
    raise TypeError(
        f"cannot store {value!r} in a checkpoint: pass plain data, a class, or functools.partial(Class, option=value)"
    )
