"""Multi-head softmax attention, with the sigmoid output gate as an option."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import nn

from gated.core.mixers.base import Grid, TokenMixer
from gated.core.nn.dropout import Dropout
from gated.core.nn.heads import check_heads, merge_heads, split_heads
from gated.core.ops import softmax_attention
from gated.core.ops.softmax_attention.reference import attention_weights
from gated.errors import UserError


class SoftmaxAttention(TokenMixer):
    """Multi-head self-attention, ``proj(sigmoid(gate(x)) * softmax(q k^T / sqrt(d)) v)``.

    With ``output_gate="none"`` it is the attention of "Attention Is All You Need" (arXiv 1706.03762, eq. 1) with timm's
    parameter layout; ``"head"`` and ``"element"`` add the output gate G1 of "Gated Attention for Large Language Models"
    (arXiv 2505.06708, section 2.2), which removes attention sinks.

    Args:
        dim: channels ``D`` of the tokens.
        num_heads: heads; must divide ``dim``.
        qkv_bias: bias on the query, key and value projections.
        output_gate: no gate, one gate a head, or one gate a channel.
        causal: token ``n`` sees tokens ``0..n`` only.
        dropout: probability of dropping an attention weight in training.
        proj_dropout: dropout after the output projection.
    """

    supports_mask: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int = 8,
        qkv_bias: bool = True,
        output_gate: Literal["none", "head", "element"] = "none",
        causal: bool = False,
        dropout: float = 0.0,
        proj_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads("SoftmaxAttention", num_heads, dim)
        gate_width = {"none": 0, "head": num_heads, "element": dim}
        if output_gate not in gate_width:
            raise UserError(
                f"SoftmaxAttention: unknown output_gate {output_gate!r}", expected="'none', 'head' or 'element'"
            )
        self.num_heads = num_heads
        self.causal = causal
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.gate = nn.Linear(dim, gate_width[output_gate]) if output_gate != "none" else None
        self.proj = nn.Linear(dim, dim)
        self.proj_dropout = Dropout(proj_dropout)

    def forward(
        self, x_BND: torch.Tensor, *, grid: Grid | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix the tokens; see :class:`TokenMixer`."""
        q, k, v = (split_heads(t, self.num_heads) for t in self.qkv(x_BND).chunk(3, -1))
        gate = None if self.gate is None else split_heads(self.gate(x_BND), self.num_heads)
        out = softmax_attention(
            q,
            k,
            v,
            causal=self.causal,
            output_gate=gate,
            key_mask=mask,
            dropout=self.dropout if self.training else 0.0,
        )
        out_BND: torch.Tensor = self.proj_dropout(self.proj(merge_heads(out)))
        return out_BND

    def attention_map(self, x_BND: torch.Tensor, *, grid: Grid | None = None) -> torch.Tensor:
        """Return the attention weights ``[B, H, N, N]`` (before the output gate)."""
        q, k, _ = (split_heads(t, self.num_heads) for t in self.qkv(x_BND).chunk(3, -1))
        return attention_weights(q, k, causal=self.causal, key_mask=None, scale=q.shape[-1] ** -0.5)

    def gate_values(self, x_BND: torch.Tensor) -> torch.Tensor | None:
        """Return the open share of the output gate ``[B, H, N, 1 or D/H]`` in 0..1, or None without a gate."""
        return None if self.gate is None else torch.sigmoid(split_heads(self.gate(x_BND), self.num_heads))
