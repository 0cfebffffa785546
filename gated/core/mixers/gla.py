"""Gated linear attention (GLA)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from gated.core.mixers.base import Grid, TokenMixer
from gated.core.nn.heads import check_heads, merge_heads, split_heads
from gated.core.ops import linear_recurrence
from gated.core.ops._recurrence import Direction, Recurrence
from gated.errors import UserError


class GatedLinearAttention(TokenMixer):
    """Linear attention that forgets each key channel at its own pace (GLA, arXiv 2312.06635, sections 4.1 and 4.4).

    ``S_t = diag(a_t) S_{t-1} + k_t v_t^T``, ``out = W_o (RMSNorm(q_t^T S_t) * silu(W_g x))`` with the forget gate
    ``a = sigmoid(W_2 W_1 x + b)^(1/tau)``. Cost linear in ``N``. Without ``causal`` every token sees all others,
    decayed by the gates between them, which is one symmetric kernel and not two passes with weights of their own.

    Args:
        dim: channels ``D`` of the tokens.
        num_heads: heads; must divide the widths of keys and values.
        expand_k: width of queries and keys as a multiple of ``dim``.
        expand_v: width of values as a multiple of ``dim``.
        gate_rank: rank of the forget gate's projection.
        gate_tau: ``tau``, how much slower than a plain sigmoid the gate forgets.
        causal: token ``n`` sees tokens ``0..n`` only; then the mixer is stateful.
    """

    supports_mask: ClassVar[bool] = True
    stateful: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int = 4,
        expand_k: float = 0.5,
        expand_v: float = 1.0,
        gate_rank: int = 16,
        gate_tau: float = 16.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        widths = round(expand_k * dim), round(expand_v * dim)
        check_heads("GatedLinearAttention", num_heads, *widths)
        self.num_heads, self.causal, self.gate_tau = num_heads, causal, gate_tau
        self.q, self.k = (nn.Linear(dim, widths[0], bias=False) for _ in range(2))
        self.v, self.gate = (nn.Linear(dim, widths[1], bias=False) for _ in range(2))
        self.forget = nn.Sequential(nn.Linear(dim, gate_rank, bias=False), nn.Linear(gate_rank, widths[0]))
        self.norm = nn.RMSNorm(widths[1] // num_heads, eps=1e-5)
        self.proj = nn.Linear(widths[1], dim, bias=False)

    def forward(
        self, x_BND: torch.Tensor, *, grid: Grid | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix the tokens; see :class:`TokenMixer`."""
        return self._out(x_BND, self._recur(x_BND, "forward" if self.causal else "both", mask))

    def init_state(self, batch: int) -> torch.Tensor:
        """The state before the first token, ``[B, H, K, V]``."""
        heads, weight = self.num_heads, self.proj.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        keys, values = self.k.out_features // heads, self.v.out_features // heads
        return torch.zeros(batch, heads, keys, values, dtype=dtype, device=weight.device)

    def step(self, x_BD: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One token: ``(output [B, D], next state)``; needs ``causal=True``."""
        if not self.causal:
            raise UserError("GatedLinearAttention: a state needs causal=True", found="causal=False")
        x_BND = x_BD.unsqueeze(1)
        result = self._recur(x_BND, "forward", None, state)
        assert result.state is not None
        return self._out(x_BND, result).squeeze(1), result.state

    def log_forget(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Log of the forget gate ``[B, H, N, K]``, in fp32 or better."""
        raw = self.forget(x_BND)
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        return split_heads(F.logsigmoid(raw) / self.gate_tau, self.num_heads)

    def _recur(
        self, x_BND: torch.Tensor, direction: Direction, mask: torch.Tensor | None, state: torch.Tensor | None = None
    ) -> Recurrence:
        q, k, v = (split_heads(projection(x_BND), self.num_heads) for projection in (self.q, self.k, self.v))
        # the gate is at most 0 by construction, so there is nothing to check
        return linear_recurrence(
            q,
            k,
            v,
            self.log_forget(x_BND),
            direction=direction,
            mask=mask,
            initial_state=state,
            return_state=state is not None,
            check=False,
        )

    def _out(self, x_BND: torch.Tensor, result: Recurrence) -> torch.Tensor:
        out_BND: torch.Tensor = self.proj(merge_heads(self.norm(result.output)) * F.silu(self.gate(x_BND)))
        return out_BND
