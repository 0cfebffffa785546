"""Shape checks with named dimensions; they cost nothing under ``torch.compile`` and ``torch.export``."""

from __future__ import annotations

import torch

from gated.errors import UserError


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
            expected=" or ".join(f"[{', '.join(p.split())}]" for p in patterns) + (f" with {known}" if known else ""),
            found=str(list(tensor.shape)),
        )

    def floating(self, **tensors: torch.Tensor | None) -> Shapes:
        """Check that tensors (None passes) hold real floating-point numbers: whole ones would be cut off."""
        for argument, tensor in tensors.items():
            if self.active and tensor is not None and not tensor.is_floating_point():
                raise UserError(
                    f"{self.op}: {argument} has the wrong dtype",
                    expected="a real floating-point dtype",
                    found=str(tensor.dtype),
                )
        return self

    def share(self, argument: str, value: float) -> Shapes:
        """Check that a probability lies between 0 and 1."""
        if not 0 <= value <= 1:
            raise UserError(f"{self.op}: {argument} is no probability", expected="between 0 and 1", found=f"{value}")
        return self

    def dtype(self, argument: str, tensor: torch.Tensor | None, dtype: torch.dtype) -> Shapes:
        """Check that ``tensor`` (None passes) has ``dtype``."""
        if self.active and tensor is not None and tensor.dtype != dtype:
            raise UserError(f"{self.op}: {argument} has the wrong dtype", expected=str(dtype), found=str(tensor.dtype))
        return self
