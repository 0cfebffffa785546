"""How an op is declared once and dispatched: fixed form names, strings until used, no silent fallback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import torch

from gated.errors import UserError, did_you_mean

Impl: TypeAlias = Literal["auto", "reference", "chunk", "triton"]
FORMS = ("reference", "chunk", "triton")


@dataclass(frozen=True)
class GatedOp:
    """One operation and its forms.

    Attributes:
        name: the public name, as in ``gated.core.ops.<name>``.
        forms: form name -> ``"module:function"``; triton is imported when it is picked, never earlier.
    """

    name: str
    forms: Mapping[str, str]

    def unavailable(self, form: str, device: torch.device) -> str | None:
        """Return why ``form`` cannot run for tensors on ``device``, or None if it can."""
        if form not in self.forms:
            return f"{self.name} has no {form} form"
        if form == "triton":
            if find_spec("triton") is None:
                return "the package triton is not installed"
            if device.type != "cuda":
                return f"triton needs a GPU, the tensors are on {device.type}"
        return None

    def pick(self, impl: Impl, device: torch.device) -> Callable[..., Any]:
        """Return the function for ``impl``; ``"auto"`` takes triton on a GPU (never while exporting), else chunk.

        Raises:
            UserError: ``impl`` is unknown, or cannot run here (an explicit choice never falls back).
        """
        if impl == "auto":
            impl = "chunk" if is_exporting() or self.unavailable("triton", device) else "triton"
        elif impl not in FORMS:
            raise UserError(f"{self.name}: unknown impl {impl!r}", hint=did_you_mean(str(impl), ("auto", *FORMS)))
        reason = self.unavailable(impl, device)
        if reason:
            usable = [form for form in FORMS if self.unavailable(form, device) is None]
            raise UserError(
                f"{self.name}: impl={impl!r} cannot run here: {reason}",
                hint="use impl=" + " or impl=".join(repr(form) for form in usable),
            )
        path = self.forms[impl]
        if path not in _LOADED:
            _LOADED[path] = _load(path)
        return _LOADED[path]


def declare(name: str, *forms: str) -> GatedOp:
    """Declare the op in folder ``gated/core/ops/<name>`` whose files ``<form>.py`` hold a function ``<form>``."""
    paths = {form: f"gated.core.ops.{name}.{form}:{form}" for form in forms}
    # torch.compile cannot trace an import, so the forms that need torch alone are loaded right away
    _LOADED.update({path: _load(path) for form, path in paths.items() if form != "triton"})
    return GatedOp(name, paths)


def is_exporting() -> bool:
    """Whether ``torch.export`` is tracing (``torch.compile`` sees ``torch.compiler.is_exporting()`` as true)."""
    return bool(torch.compiler._is_exporting_flag)


def _load(path: str) -> Callable[..., Any]:
    module, function = path.split(":")
    loaded: Callable[..., Any] = getattr(import_module(module), function)
    return loaded


_LOADED: dict[str, Callable[..., Any]] = {}
