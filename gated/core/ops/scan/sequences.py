"""Direction, padding, packed sequences and state, brought down to a scan that starts from zero.

- ``reverse`` counts the decay between two tokens as ``forward`` does, so that ``both`` is symmetric: the gate moves by
  one step, ``h_t = a_{t+1} h_{t+1} + x_t``. The state that it hands on has been damped by the gate of its first token.
- A masked token adds nothing and damps nothing, as if it were cut out.
- The first token of a packed sequence closes the gate to what came before.
- An initial state is one more input, added to the token that it meets first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from gated.core.ops._recurrence import Direction, Recurrence

CLOSED = float("-inf")


class Packing:
    """Where the sequences packed into one row begin and end."""

    def __init__(self, cu_seqlens: torch.Tensor, length: int) -> None:
        bounds = cu_seqlens.long()
        self.empty = bounds[1:] == bounds[:-1]
        self.first = bounds[:-1].clamp_max(max(length - 1, 0))
        self.last = (bounds[1:] - 1).clamp_min(0)
        marks = torch.zeros(length + 1, dtype=torch.bool, device=bounds.device).index_fill(0, bounds, True)
        self.starts, self.ends = marks[:-1].unsqueeze(-1), marks[1:].unsqueeze(-1)


def run(
    form: Callable[..., torch.Tensor],
    x: torch.Tensor,
    log_decay: torch.Tensor,
    *,
    direction: Direction,
    mask: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    initial_state: torch.Tensor | None,
    return_state: bool,
) -> Recurrence:
    """Run ``form`` on tensors of one dtype, ``x`` ``[B, ..., T, D]``; see :func:`gated.core.ops.scan`."""
    length = x.shape[-2]
    constant = log_decay.dim() < x.dim()
    if constant:
        log_decay = log_decay.unsqueeze(-2)
        if mask is not None or cu_seqlens is not None:
            log_decay, constant = log_decay.expand(*x.shape[:-1], log_decay.shape[-1]), False
    if mask is not None:
        mask = mask.view(mask.shape[0], *[1] * (x.dim() - 3), length, 1)
        # not a product: padding may hold anything, even what is no number
        x, log_decay = x.masked_fill(~mask, 0.0), torch.where(mask, log_decay, 0.0)
    packing = None if cu_seqlens is None else Packing(cu_seqlens, length)
    one_way = partial(_one_way, form, packing=packing, constant=constant)
    if direction == "both":
        output = one_way(x, log_decay, reverse=False)[0] + one_way(x, log_decay, reverse=True)[0] - x
        state = None
    else:
        output, state = one_way(x, log_decay, reverse=direction == "reverse", initial_state=initial_state)
    if mask is not None:
        output = output.masked_fill(~mask, 0.0)
    return Recurrence(output, state if return_state else None)


def _one_way(
    form: Callable[..., torch.Tensor],
    x: torch.Tensor,
    log_decay: torch.Tensor,
    *,
    packing: Packing | None,
    constant: bool,
    reverse: bool,
    initial_state: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    gate = log_decay
    if reverse and not constant:
        # the last token meets the zero state; padding first keeps an exported graph from asking whether T is 2
        gate = F.pad(log_decay, (0, 0, 0, 1))[..., 1:, :]
    if x.shape[-2] == 0:
        h = form(x, gate, constant=constant, reverse=reverse)
        count = x.shape[0] if packing is None else packing.empty.shape[0]
        return h, h.new_zeros(count, *h.shape[1:-2], h.shape[-1]) if initial_state is None else initial_state.clone()
    if packing is not None:
        gate = gate.masked_fill(packing.ends if reverse else packing.starts, CLOSED)
    if initial_state is not None:
        arriving = initial_state if reverse else initial_state * torch.exp(_edge(log_decay, packing, last=False))
        x = _add_at_edge(x, arriving, packing, last=reverse)
    h = form(x, gate, constant=constant, reverse=reverse)
    state = _edge(h, packing, last=not reverse).clone()  # a view would keep all of h
    if reverse:
        state = state * torch.exp(_edge(log_decay, packing, last=False))
    if packing is not None:
        untouched = torch.zeros_like(state) if initial_state is None else initial_state
        state = torch.where(packing.empty.view(-1, *[1] * (state.dim() - 1)), untouched, state)
    return h, state


def _edge(t: torch.Tensor, packing: Packing | None, *, last: bool) -> torch.Tensor:
    """The first or last step of every sequence, ``[B, ..., D]`` or, packed, ``[N, ..., D]``."""
    if packing is None:
        return t[..., -1, :] if last else t[..., 0, :]
    at_edge = t.index_select(-2, packing.last if last else packing.first)
    return at_edge.squeeze(0).movedim(-2, 0)


def _add_at_edge(x: torch.Tensor, added: torch.Tensor, packing: Packing | None, *, last: bool) -> torch.Tensor:
    if packing is None:
        others = x.shape[-2] - 1
        return x + F.pad(added.unsqueeze(-2), (0, 0, others, 0) if last else (0, 0, 0, others))
    added = added.masked_fill(packing.empty.view(-1, *[1] * (added.dim() - 1)), 0.0).movedim(0, -2).unsqueeze(0)
    return x.index_add(-2, packing.last if last else packing.first, added)
