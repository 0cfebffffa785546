"""Public function of the op: docstring, checks, choice of form."""

from __future__ import annotations

import torch

from gated.core.ops._checks import Shapes
from gated.core.ops._op import Impl, declare

OP = declare("gpsa", "reference", "chunk", "triton")


def gpsa(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    position: torch.Tensor,
    gate: torch.Tensor,
    *,
    grid: tuple[int, ...],
    scale: float | None = None,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Gated positional self-attention: a content softmax mixed with a softmax over relative positions.

    For every head (ConViT, arXiv 2103.10697, eq. 6 and 7), with ``r_ij = (dx, dy, dx^2 + dy^2)`` in patches::

        A_ij  = (1 - sigmoid(gate)) softmax_j(scale q_i . k_j) + sigmoid(gate) softmax_j(position . r_ij)
        out_i = sum_j A_ij v_j

    Token ``n`` sits at row ``n // width`` and column ``n % width``; ``dx`` and ``dy`` point from ``i`` to ``j``.

    Args:
        q: queries ``[B, H, N, D]``.
        k: keys ``[B, H, N, D]``.
        v: values ``[B, H, N, E]``.
        position: weights ``[H, 3]`` of ``(dx, dy, dx^2 + dy^2)``; computed with in fp32 or better.
        gate: ``[H]``, before the sigmoid; 0 mixes half and half.
        grid: ``(height, width)`` with ``height * width == N``.
        scale: factor on the content scores, ``D ** -0.5`` by default.
        impl: form to run; ``"auto"`` is ``"chunk"`` everywhere.

    Returns:
        ``[B, H, N, E]`` in the dtype of ``v``.

    Raises:
        UserError: a shape does not fit, the grid has another number of cells than there are tokens, or ``impl`` cannot
            run here.

    Example:
        >>> q = k = v = torch.randn(1, 2, 6, 8)
        >>> gpsa(q, k, v, torch.randn(2, 3), torch.ones(2), grid=(2, 3)).shape
        torch.Size([1, 2, 6, 8])
    """
    shapes = Shapes(OP.name).check("q", q, "B H N D").check("k", k, "B H N D").check("v", v, "B H N E")
    shapes.check("position", position, "H 3").check("gate", gate, "H")
    shapes.floating(q=q, k=k, v=v, position=position, gate=gate).alike(q=q, k=k, v=v).grid(grid, (2,), q.shape[2])
    shapes.number(scale=scale)
    scale = max(q.shape[-1], 1) ** -0.5 if scale is None else scale
    if impl == "auto":
        impl = "chunk"  # torch's own kernel is the fastest for content that has no option
    out: torch.Tensor = OP.pick(impl, q.device)(q, k, v, position, gate, grid=tuple(grid), scale=scale)
    return out
