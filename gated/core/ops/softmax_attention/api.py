"""Public function of the op: docstring, checks, choice of form."""

from __future__ import annotations

import torch

from gated.core.ops._checks import Shapes
from gated.core.ops._op import Impl, declare
from gated.errors import UserError

OP = declare("softmax_attention", "reference", "chunk")


def softmax_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool = False,
    output_gate: torch.Tensor | None = None,
    key_mask: torch.Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Softmax attention, ``sigmoid(output_gate) * softmax(scale * q k^T) v``.

    The output gate is G1 of "Gated Attention for Large Language Models" (arXiv 2505.06708, eq. 5): one number per
    element or per head, applied after the values are mixed and before the output projection.

    Args:
        q: queries ``[B, H, T, D]``.
        k: keys ``[B, H, S, D]``.
        v: values ``[B, H, S, E]``.
        causal: query ``t`` sees keys ``0..t``; needs ``S == T``.
        output_gate: gate before the sigmoid, ``[B, H, T, E]`` (element-wise) or ``[B, H, T, 1]`` (head-wise).
        key_mask: ``[B, S]`` bool, True where a key is real. A query with no key to look at gives zeros.
        scale: factor on the scores, ``D ** -0.5`` by default.
        dropout: probability of dropping an attention weight; pass 0 outside training.
        impl: form to run; ``"auto"`` picks.

    Returns:
        ``[B, H, T, E]`` in the dtype of ``v``.

    Raises:
        UserError: a shape or dtype does not fit, or ``impl`` cannot run here.

    Example:
        >>> q = k = v = torch.randn(1, 2, 5, 8)
        >>> softmax_attention(q, k, v, output_gate=torch.zeros(1, 2, 5, 1)).shape
        torch.Size([1, 2, 5, 8])
    """
    shapes = Shapes(OP.name).check("q", q, "B H T D").check("k", k, "B H S D").check("v", v, "B H S E")
    shapes.check("output_gate", output_gate, "B H T E", "B H T 1").check("key_mask", key_mask, "B S")
    shapes.dtype("key_mask", key_mask, torch.bool)
    if causal and q.shape[2] != k.shape[2]:
        raise UserError(
            f"{OP.name}: causal=True needs as many keys as queries", expected=f"S={q.shape[2]}", found=f"S={k.shape[2]}"
        )
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    form = OP.pick(impl, q.device)
    out: torch.Tensor = form(
        q, k, v, causal=causal, output_gate=output_gate, key_mask=key_mask, scale=scale, dropout=dropout
    )
    return out
