"""Forgetting attention: softmax attention whose scores fade with the forget gates between query and key."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.mixers.base import Grid, TokenMixer, check_mask
from gated.core.nn.dropout import Dropout
from gated.core.nn.heads import check_heads, merge_heads, split_heads
from gated.core.ops import softmax_attention
from gated.core.ops.softmax_attention.forget import Forget
from gated.core.ops.softmax_attention.reference import attention_weights
from gated.errors import UserError


class ForgettingAttention(TokenMixer):
    """Softmax attention whose scores fade with forget gates, ``proj(softmax(q k^T / sqrt(d) + D) v)``.

    The mixer of "Forgetting Transformer" (FoX, arXiv 2503.02130).
    ``D_ij`` is the sum of ``logsigmoid(forget(x_r))`` over the tokens after key ``j`` up to query ``i``,
    one gate a head; no position embedding is needed. The paper is causal. Without ``causal`` the gates act on both
    sides: by distance (``D_ij = -|c_i - c_j|``), or with gates of their own for keys on the right.

    Args:
        dim: channels ``D`` of the tokens.
        num_heads: heads; must divide ``dim``.
        qkv_bias: bias on the query, key and value projections.
        causal: token ``n`` sees tokens ``0..n`` only.
        two_sided: gates of their own for the future; not with ``causal``.
        pro: the paper's Pro block: keys and values mixed with those of the token before, RMSNorm on the
            queries and keys of each head, and on its output, followed by an element-wise sigmoid gate.
        dropout: probability of dropping an attention weight in training.
        proj_dropout: dropout after the output projection.
    """

    supports_mask: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int = 8,
        qkv_bias: bool = False,
        causal: bool = False,
        two_sided: bool = False,
        pro: bool = False,
        dropout: float = 0.0,
        proj_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads("ForgettingAttention", num_heads, dim)
        if causal and two_sided:
            raise UserError("ForgettingAttention: two_sided has no meaning with causal=True", found="both")
        self.num_heads = num_heads
        self.causal = causal
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.forget = nn.Linear(dim, num_heads * (1 + two_sided))
        self.shift = nn.Linear(dim, 2 * num_heads, bias=False) if pro else None
        self.norms = nn.ParameterList(torch.ones(num_heads, 1, dim // num_heads) for _ in range(3)) if pro else None
        self.gate = nn.Linear(dim, dim, bias=False) if pro else None
        self.proj = nn.Linear(dim, dim)
        self.proj_dropout = Dropout(proj_dropout)

    def forward(
        self, x_BND: torch.Tensor, *, grid: Grid | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix the tokens; see :class:`TokenMixer`."""
        check_mask(x_BND, mask)
        q, k, v = self._qkv(x_BND, mask)
        out = softmax_attention(
            q,
            k,
            v,
            causal=self.causal,
            log_forget=self._log_forget(x_BND, mask),
            key_mask=mask,
            dropout=self.dropout if self.training else 0.0,
            check=False,
        )
        if self.norms is not None and self.gate is not None:
            out = _normalise(out, self.norms[2]) * torch.sigmoid(split_heads(self.gate(x_BND), self.num_heads))
        out_BND: torch.Tensor = self.proj_dropout(self.proj(merge_heads(out)))
        return out_BND

    def attention_map(self, x_BND: torch.Tensor, *, grid: Grid | None = None) -> torch.Tensor:
        """Return the attention weights ``[B, H, N, N]``."""
        q, k, _ = self._qkv(x_BND, None)
        forget, scale = self._log_forget(x_BND, None), q.shape[-1] ** -0.5
        return attention_weights(q, k, causal=self.causal, key_mask=None, scale=scale, log_forget=forget)

    def gate_values(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return the forget gates ``[B, H, N, 1]`` in 0..1, ``[B, H, N, 2]`` (past, future) if two-sided."""
        gates = self._log_forget(x_BND, None)
        return torch.stack(gates if isinstance(gates, tuple) else (gates,), -1).exp()

    def _log_forget(self, x_BND: torch.Tensor, mask: torch.Tensor | None) -> Forget:
        # logits of half precision, but sums of their logs need more
        logits_BNH = self.forget(x_BND)
        gates_BHN = F.logsigmoid(logits_BNH.to(torch.promote_types(logits_BNH.dtype, torch.float32))).transpose(1, 2)
        if mask is not None:
            gates_BHN = gates_BHN.masked_fill(~mask[:, None], 0.0)  # padding inside a sequence forgets nothing
        past, *future = gates_BHN.split(self.num_heads, 1)
        return (past, future[0]) if future else past

    def _qkv(self, x_BND: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = (split_heads(t, self.num_heads) for t in self.qkv(x_BND).chunk(3, -1))
        if self.shift is None or self.norms is None:
            return q, k, v
        for_k, for_v = torch.sigmoid(split_heads(self.shift(x_BND), self.num_heads)).chunk(2, -1)
        k, v = _shifted(k, for_k, mask), _shifted(v, for_v, mask)
        return _normalise(q, self.norms[0]), _normalise(k, self.norms[1]), v


def _normalise(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=1e-6) * weight


def _shifted(x: torch.Tensor, share: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """``share * x_{t-1} + (1 - share) * x_t``, nothing being before the first token or at a masked one."""
    before = x if mask is None else x.masked_fill(~mask[:, None, :, None], 0.0)
    return share * F.pad(before, (0, 0, 1, 0))[:, :, :-1] + (1 - share) * x
