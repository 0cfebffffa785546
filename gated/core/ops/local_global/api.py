"""Public function of the op: docstring, checks, choice of form."""

from __future__ import annotations

import torch

from gated.core.ops._checks import Shapes
from gated.core.ops._op import Impl, declare
from gated.errors import UserError

OP = declare("local_global", "reference", "chunk", "triton")


def local_global(
    q_local: torch.Tensor,
    k_local: torch.Tensor,
    q_global: torch.Tensor,
    k_global: torch.Tensor,
    values: tuple[torch.Tensor, ...],
    *,
    group_size: int = 256,
    causal: bool = False,
    mask: torch.Tensor | None = None,
    dropout: float = 0.0,
    impl: Impl = "auto",
) -> tuple[torch.Tensor, ...]:
    """Squared-ReLU attention inside groups of ``g`` neighbours plus linear attention over the whole sequence.

    For every stream ``v`` of ``values``, all sharing the same scores (joint local and global attention of MossFormer,
    arXiv 2302.11824; mixed chunk attention of FLASH, arXiv 2202.10447)::

        out_i = sum_{j in group(i)} relu(q_local_i . k_local_j / g)^2 v_j  +  (1/n) q_global_i . sum_j k_global_j v_j^T

    ``n`` is the number of real tokens. With ``causal=True`` the local sum stops at ``j = i`` and the global one runs
    over the groups before the group of ``i``, divided by ``g``.

    Args:
        q_local: local queries ``[B, H, T, D]``; ``k_local`` likewise.
        k_local: local keys ``[B, H, T, D]``.
        q_global: global queries ``[B, H, T, E]``; ``k_global`` likewise.
        k_global: global keys ``[B, H, T, E]``.
        values: one or more streams ``[B, H, T, V]`` (each with its own ``V``).
        group_size: ``g``, tokens in a group.
        causal: see above.
        mask: ``[B, T]`` bool, True where a token is real: the others add nothing and get zeros.
        dropout: probability of dropping a local attention weight; pass 0 outside training. Not with ``impl="triton"``.
        impl: form to run; ``"auto"`` picks.

    Returns:
        A tuple as long as ``values``, each ``[B, H, T, V]``.

    Raises:
        UserError: a shape or dtype does not fit, or ``impl`` cannot run here.

    Example:
        >>> q, v = torch.randn(1, 1, 300, 16), torch.randn(1, 1, 300, 8)
        >>> local_global(q, q, q, q, (v, 2 * v))[1].shape
        torch.Size([1, 1, 300, 8])
    """
    shapes = Shapes(OP.name).check("q_local", q_local, "B H T D").check("k_local", k_local, "B H T D")
    shapes.check("q_global", q_global, "B H T E").check("k_global", k_global, "B H T E").check("mask", mask, "B T")
    shapes.dtype("mask", mask, torch.bool)
    shapes.floating(q_local=q_local, k_local=k_local, q_global=q_global, k_global=k_global)
    shapes.alike(q_local=q_local, k_local=k_local).alike(q_global=q_global, k_global=k_global)
    shapes.number(group_size=group_size).share("dropout", dropout)
    if not isinstance(values, tuple | list) or not values:
        raise UserError(
            f"{OP.name}: values must hold a stream at least",
            expected="a tuple of tensors [B, H, T, V]",
            found="()" if isinstance(values, tuple | list) else type(values).__name__,
        )
    for i, value in enumerate(values):
        shapes.check(f"values[{i}]", value, f"B H T V{i}").floating(**{f"values[{i}]": value})
    if group_size < 1:
        raise UserError(f"{OP.name}: group_size must be positive", expected=">= 1", found=str(group_size))
    tensors = q_local, k_local, q_global, k_global, *values
    if mask is not None:
        # a token of zeros adds nothing and gets nothing; not a product, because padding may hold no number
        hidden = ~mask[:, None, :, None]
        tensors = tuple(x.masked_fill(hidden, 0.0) for x in tensors)
    # kernels have no dropout
    form = OP.pick("chunk" if dropout and impl == "auto" else impl, q_local.device)
    out: tuple[torch.Tensor, ...] = form(
        *tensors[:4],
        tensors[4:],
        group_size=group_size,
        causal=causal,
        mask=mask,
        dropout=dropout,
    )
    return out
