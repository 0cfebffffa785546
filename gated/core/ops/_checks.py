"""Shape checks with named dimensions; they cost nothing under ``torch.compile`` and ``torch.export``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import torch

from gated.errors import UserError

AXES = ("depth", "height", "width")


class Shapes:
    """Checks tensors of one call against patterns such as ``"B H T D"`` and remembers what each name stood for."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.sizes: dict[str, int] = {}
        self.active = not torch.compiler.is_compiling()

    def check(self, argument: str, tensor: torch.Tensor | None, *patterns: str) -> Shapes:
        """Check that ``tensor`` (None passes) fits one of ``patterns``; a number in a pattern stands for itself.

        Raises:
            UserError: naming the argument, the expected named shape and what came.
        """
        if not self.active or tensor is None:
            return self
        if not isinstance(tensor, torch.Tensor):
            raise UserError(
                f"{self.op}: {argument} is no tensor", expected=_shapes(patterns), found=type(tensor).__name__
            )
        for pattern in patterns:
            sizes = dict(self.sizes)
            names = pattern.split()
            if len(names) == tensor.dim() and all(
                size == (int(name) if name.isdigit() else sizes.setdefault(name, size))
                for name, size in zip(names, tensor.shape, strict=True)
            ):
                self.sizes = sizes
                return self
        known = ", ".join(f"{k}={v}" for k, v in self.sizes.items())
        raise UserError(
            f"{self.op}: {argument} has the wrong shape",
            expected=_shapes(patterns) + (f" with {known}" if known else ""),
            found=str(list(tensor.shape)),
        )

    def floating(self, **tensors: torch.Tensor | None) -> Shapes:
        """Check that tensors (None passes) hold real floating-point numbers: whole ones would be cut off."""
        for argument, tensor in tensors.items():
            if self.active and isinstance(tensor, torch.Tensor) and not tensor.is_floating_point():
                raise UserError(
                    f"{self.op}: {argument} has the wrong dtype",
                    expected="a real floating-point dtype",
                    found=str(tensor.dtype),
                )
        return self

    def alike(self, **tensors: torch.Tensor) -> Shapes:
        """Check that tensors share one dtype, as they do once autocast has cast them."""
        first, *others = tensors.items()
        for argument, tensor in others:
            if self.active and tensor.dtype != first[1].dtype and not _autocast(tensor.device):
                raise UserError(
                    f"{self.op}: {argument} has another dtype than {first[0]}",
                    expected=str(first[1].dtype),
                    found=str(tensor.dtype),
                )
        return self

    def grid(self, grid: object, dims: Sequence[int], tokens: int) -> Shapes:
        """Check that ``grid`` has so many sizes, whose product is the number of tokens; while compiling too."""
        sizes = grid if isinstance(grid, tuple | list) else ()
        whole = all(isinstance(size, int | torch.SymInt) and size >= 0 for size in sizes)
        if len(sizes) not in dims or not whole or math.prod(sizes) != tokens:
            names = " or ".join(f"({', '.join(AXES[-n:])}{',' * (n == 1)})" for n in dims)
            raise UserError(
                f"{self.op}: the grid does not fit the tokens",
                expected=f"grid={names} whose product is the {tokens} tokens",
                found=f"grid={grid}",
                hint="leave tokens that have no place on the grid (a class token) out of this op",
            )
        return self

    def number(self, **values: object) -> Shapes:
        """Check that options (None passes) are real numbers; a tensor is none, even of one."""
        for argument, value in values.items():
            if self.active and value is not None and not isinstance(value, Real):
                raise UserError(
                    f"{self.op}: {argument} is no number",
                    expected="a number",
                    found=f"{type(value).__name__} {value!r}",
                )
        return self

    def share(self, argument: str, value: float) -> Shapes:
        """Check that a probability lies between 0 and 1."""
        self.number(**{argument: value})
        if not 0 <= value <= 1:
            raise UserError(f"{self.op}: {argument} is no probability", expected="between 0 and 1", found=f"{value}")
        return self

    def dtype(self, argument: str, tensor: torch.Tensor | None, dtype: torch.dtype) -> Shapes:
        """Check that ``tensor`` (None passes) has ``dtype``."""
        if self.active and isinstance(tensor, torch.Tensor) and tensor.dtype != dtype:
            raise UserError(f"{self.op}: {argument} has the wrong dtype", expected=str(dtype), found=str(tensor.dtype))
        return self


def _shapes(patterns: Sequence[str]) -> str:
    return " or ".join(f"[{', '.join(pattern.split())}]" for pattern in patterns)


def _autocast(device: torch.device) -> bool:
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
