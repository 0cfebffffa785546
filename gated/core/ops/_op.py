"""How an op is declared once and dispatched: fixed form names, strings until used, no silent fallback."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import torch
from torch.autograd import forward_ad

from gated.errors import UserError, did_you_mean

Impl: TypeAlias = Literal["auto", "reference", "chunk", "triton"]
FORMS = ("reference", "chunk", "triton")
_INSTALLED = find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # triton too looks once

kernels_run_anywhere = False
"""Set while kernels are only written down, to be compiled for another machine (``_triton.written_down``)."""

exported_forms: dict[str, Callable[..., Any]] = {}
"""Op -> form that ``"auto"`` takes while exporting, set around an export for another runtime (``_onnx.as_onnx``)."""


@dataclass(frozen=True)
class GatedOp:
    """One operation and its forms.

    Attributes:
        name: the public name, as in ``gated.core.ops.<name>``.
        forms: form name -> ``"module:function"``; triton is imported where it can run, or when it is picked.
    """

    name: str
    forms: Mapping[str, str]

    def unavailable(self, form: str, device: torch.device) -> str | None:
        """Return why ``form`` cannot run for tensors on ``device``, or None if it can."""
        if form not in self.forms:
            return f"{self.name} has no {form} form"
        if form == "triton":
            if not _INSTALLED:
                return "the package triton is not installed"
            if device.type != "cuda" and not (kernels_run_anywhere or _INTERPRETED):
                return (
                    f"triton needs a GPU, the tensors are on {device.type} (TRITON_INTERPRET=1 interprets it, slowly)"
                )
        return None

    def pick(self, impl: Impl, device: torch.device) -> Callable[..., Any]:
        """Return the function for ``impl``; ``"auto"`` takes triton on a GPU (never while exporting), else chunk.

        Raises:
            UserError: ``impl`` is unknown, or cannot run here (an explicit choice never falls back).
        """
        if impl == "auto" and is_exporting() and self.name in exported_forms:
            return exported_forms[self.name]
        if impl == "auto":
            # interpreted kernels are for tests: nobody gets them without asking
            fit = device.type == "cuda" and not is_exporting() and self.unavailable("triton", device) is None
            impl = "triton" if fit else "chunk"
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
    # torch.compile cannot trace an import, so whatever can run on this machine is loaded right away
    triton_runs = _INSTALLED and (_INTERPRETED or torch.cuda.is_available())
    _LOADED.update({path: _load(path) for form, path in paths.items() if form != "triton" or triton_runs})
    return GatedOp(name, paths)


def is_exporting() -> bool:
    """Whether ``torch.export`` is tracing (``torch.compile`` sees ``torch.compiler.is_exporting()`` as true)."""
    return bool(torch.compiler._is_exporting_flag)


def needs_plain() -> bool:
    """Whether only plain operations will do, because one with a gradient of its own would not be followed.

    That is in an export, under forward-mode differentiation and inside the transforms of ``torch.func``.
    """
    if is_exporting() or forward_ad._current_level >= 0:
        return True
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def uncast(device: torch.device) -> AbstractContextManager[Any]:
    """Without autocast, which would put states into half precision; tensors without data know none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def is_fixed(size: int) -> bool:
    """Whether ``size`` is a number, and not a symbol of a compiled or exported graph: a loop may then depend on it."""
    if not torch.compiler.is_compiling():
        return True
    from torch.fx.experimental.symbolic_shapes import has_static_value  # brings sympy

    return bool(has_static_value(size))


def _load(path: str) -> Callable[..., Any]:
    module, function = path.split(":")
    loaded: Callable[..., Any] = getattr(import_module(module), function)
    return loaded


_LOADED: dict[str, Callable[..., Any]] = {}
