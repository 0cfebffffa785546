"""Matrix products with one factor transposed, whose gradients lie in memory as the factors do.

Of ``a @ b.mT`` torch makes the gradient of ``b.mT`` and returns its transpose: a view with strides that every
elementwise pass behind it inherits, and takes two to four times as long for. The other order of the same product gives
the same numbers in rows.
"""

from __future__ import annotations

from typing import Any

import torch


def rows_by_rows(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a @ b.mT``: ``[..., M, K], [..., N, K] -> [..., M, N]``, equal leading sizes."""
    # a view, since torch.compile loses a gradient of a tensor that is given twice
    out: torch.Tensor = _RowsByRows.apply(a, b.view_as(b))
    return out


def columns_by_columns(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a.mT @ b``: ``[..., K, M], [..., K, N] -> [..., M, N]``, equal leading sizes."""
    out: torch.Tensor = _ColumnsByColumns.apply(a, b.view_as(b))
    return out


def scaled_product(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """``scale * a @ b`` in one pass: ``[N, M, K], [N, K, L] -> [N, M, L]``; its gradient is not written out."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


class _Product(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs)


class _RowsByRows(_Product):
    @staticmethod
    def forward(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b.mT

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        a, b = ctx.saved_tensors
        needed = ctx.needs_input_grad
        return grad @ b if needed[0] else None, grad.mT @ a if needed[1] else None


class _ColumnsByColumns(_Product):
    @staticmethod
    def forward(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a.mT @ b

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        a, b = ctx.saved_tensors
        needed = ctx.needs_input_grad
        return b @ grad.mT if needed[0] else None, a @ grad if needed[1] else None
