"""The contract of a token mixer: the one thing that any backbone can be built around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import torch
from torch import nn

from gated.core.ops._checks import Shapes
from gated.errors import UserError

Grid: TypeAlias = tuple[int, ...]


class TokenMixer(nn.Module):
    """Mixes tokens: ``[B, N, D] -> [B, N, D]``.

    Class flags say what a mixer can do; a backbone checks them when it is built (:func:`require`).
    """

    causal: bool = False
    """Output ``n`` depends on inputs ``0..n`` only (an instance may set it, where it is an option)."""
    bidirectional: ClassVar[bool] = True
    """Can be built so that every output sees every input."""
    needs_grid: bool = False
    """Must be told the grid that the tokens come from (an instance may set it, where it is an option)."""
    grid_dims: int = 2
    """Axes of the grid that it needs: ``(height, width)``, but for an instance that says otherwise."""
    supports_mask: ClassVar[bool] = True
    """Honours ``mask`` (padding invariance)."""
    stateful: ClassVar[bool] = False
    """Has ``init_state(batch)`` and ``step(x_BD, state)``."""
    normalizes_input: ClassVar[bool] = False
    """Normalises its input itself, so that a backbone must not do it again."""

    def forward(
        self, x_BND: torch.Tensor, *, grid: Grid | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix the tokens.

        Args:
            x_BND: tokens ``[B, N, D]``.
            grid: sizes with a product of ``N``, ``(height, width)`` for images, for mixers with ``needs_grid``.
            mask: ``[B, N]`` bool, True where a token is real; masked tokens change nothing elsewhere.
        """
        raise NotImplementedError


def check_mask(x_BND: torch.Tensor, mask: torch.Tensor | None) -> None:
    """Check that ``mask`` is ``[B, N]`` of bool, or None.

    Raises:
        UserError: it is not.
    """
    Shapes("mixer").check("x", x_BND, "B N D").check("mask", mask, "B N").dtype("mask", mask, torch.bool)


def blanked(x_BND: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """``x_BND`` with zeros where ``mask`` is False, whatever the padding holds."""
    check_mask(x_BND, mask)
    return x_BND if mask is None else x_BND.masked_fill(~mask.unsqueeze(-1), 0.0)


MixerFactory: TypeAlias = Callable[[int], TokenMixer]
"""``dim -> mixer``: a mixer class, or ``functools.partial`` of one; what a backbone takes."""


def require(mixer: TokenMixer, backbone: str, **flags: Any) -> TokenMixer:
    """Return ``mixer`` if its flags are those that ``backbone`` needs, else raise and name both sides.

    Raises:
        UserError: a flag differs.
    """
    for flag, wanted in flags.items():
        if getattr(mixer, flag) != wanted:
            raise UserError(
                f"{type(mixer).__name__} does not fit into {backbone}",
                expected=f"a mixer with {flag}={wanted}",
                found=f"{type(mixer).__name__}.{flag} = {getattr(mixer, flag)}",
                hint="choose another mixer: `gated mixers` lists them with their flags",
            )
    return mixer
