"""One gate a channel with a bound: the steps of a piece of time, and their gradient written out (see ``_walk.py``).

A piece is some chunks. In a chunk, pairs of tokens are products of ``q e^x`` and ``k e^-x``, with ``x`` the log decay
from its middle, and chunks meet in the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from gated.core.ops._products import scaled_product


class Kept(NamedTuple):
    """What backward needs of ``c`` chunks of ``C`` tokens and ``N`` heads besides the inputs.

    Attributes:
        grown: ``[c, N, C, K]``, ``e^x``.
        start: ``[c, N, 1, K]``, decay from before a chunk to its middle.
        scores: ``[c N, C, C]``, decayed products of the tokens of a chunk, 0 above the diagonal.
    """

    grown: torch.Tensor
    start: torch.Tensor
    scores: torch.Tensor


def forward(
    size: int, scale: float, piece: Sequence[torch.Tensor], state: torch.Tensor | None, out: torch.Tensor
) -> tuple[torch.Tensor, Kept]:
    """Fill the output ``[N, n, V]`` of a piece; return the state after it, and what to keep.

    Args:
        size: tokens in a chunk, a power of two and at least 2; ``n`` is a multiple of it.
        scale: factor on the queries.
        piece: ``q, k [N, n, K], v [N, n, V], gate [N, n, K]``.
        state: ``[N, K, V]`` before the piece, or None for zeros.
        out: the output.
    """
    q, k, v, gate, out = (_chunks(x, size) for x in (*piece, out))
    v = v.contiguous()
    count, heads = q.shape[:2]
    grown, start = _from_middle(gate)
    row, col = _outwards(q, k, grown)
    scores = scaled_product(row.flatten(0, 1), col.flatten(0, 1).mT, scale).tril_(-1)
    # e^x e^-x would be one only nearly
    scores.unflatten(0, (count, heads)).diagonal(dim1=2, dim2=3).copy_((q * k).sum(-1).mul_(scale))
    output = torch.bmm(scores, v.flatten(0, 1)).view_as(v)

    end = grown[:, :, -1:]
    chunks = (output, row.mul_(start), col.mul_(end).mT, v, (start * end).mT)
    for mixed, read, write, value, total in zip(*(x.unbind() for x in chunks), strict=True):
        if state is not None:
            mixed.baddbmm_(read, state, alpha=scale)
        state = _after(state, total, write, value)
    assert state is not None
    out.copy_(output)
    return state, Kept(grown, start, scores)


def backward(
    size: int,
    scale: float,
    piece: Sequence[torch.Tensor],
    kept: Sequence[torch.Tensor],
    state: torch.Tensor | None,
    d_out: torch.Tensor,
    d_state: torch.Tensor | None,
    d_piece: Sequence[torch.Tensor],
) -> torch.Tensor | None:
    """Fill the gradients of a piece's ``q, k, v, gate``; return that of the state before it.

    Args:
        size: tokens in a chunk.
        scale: factor on the queries.
        piece: as :func:`forward` was given it.
        kept: a :class:`Kept`.
        state: before the piece, or None for zeros.
        d_out: gradient of the output.
        d_state: gradient of the state after the piece, or None for zeros; it is changed.
        d_piece: the gradients.
    """
    q, k, v, d_out = (_chunks(x, size) for x in (*piece[:3], d_out))
    v, d_out = v.contiguous(), d_out.contiguous()
    grown, start, scores = kept
    end = grown[:, :, -1:]
    row, col = _outwards(q, k, grown)
    d_v = torch.bmm(scores.mT, d_out.flatten(0, 1)).view_as(v)
    d_scores = torch.bmm(d_out.flatten(0, 1), v.flatten(0, 1).mT)
    d_own = d_scores.diagonal(dim1=1, dim2=2).mul(scale).view(*q.shape[:3], 1)
    d_scores.tril_(-1)

    total = (start * end).mT
    # by tokens that read the state before their chunk, that write the one after it, and what passes a chunk whole
    d_row, d_col, through = torch.empty_like(row), torch.empty_like(col), torch.zeros_like(total)
    writer = col * end
    # made again: of all that is kept they would be the most, and are read from memory as slowly
    states = [state]
    for decay, write, value in zip(total[:-1].unbind(), writer.mT.unbind(), v.unbind(), strict=False):
        states.append(_after(states[-1], decay, write, value))
    product = None
    chunks = ((row * start).mT, writer, v, total, d_out, d_v, d_row, d_col, through)
    for held, *chunk in reversed(list(zip(states, *(x.unbind() for x in chunks), strict=True))):
        read, write, value, decay, d_o, d_value, d_read, d_write, passed = chunk
        if d_state is None:
            d_write.zero_()
        else:
            torch.bmm(value, d_state.mT, out=d_write)
            d_value.baddbmm_(write, d_state)
        if held is None:
            d_read.zero_()
            d_state = None
        elif d_state is None:
            torch.bmm(d_o, held.mT, out=d_read)
            d_state = scaled_product(read, d_o, scale)
        else:
            product = torch.mul(d_state, held, out=product)
            torch.sum(product, -1, keepdim=True, out=passed)
            torch.bmm(d_o, held.mT, out=d_read)
            d_state = d_state.mul_(decay).baddbmm_(read, d_o, alpha=scale)

    # of a way that ends in the chunk the gates up to its end have a share, of one that begins there those after it
    flat = (len(scores), size, row.shape[-1])
    near_row = d_row.mul_(start).view(flat).baddbmm_(d_scores, col.view(flat), beta=scale, alpha=scale)
    near_col, onward = scaled_product(d_scores.mT, row.view(flat), scale), d_col.mul_(end).view(flat)
    into = row.view(flat).mul_(near_row).addcmul_(near_col, col.view(flat), value=-1)
    near_col += onward
    # sums over time as products: faster than cumsum
    ones = row.new_ones(size, size)
    d_gate = torch.bmm(ones.triu().expand_as(scores), into)
    d_gate.baddbmm_(ones.tril(-1).expand_as(scores), onward.mul_(col.view(flat)))

    targets = [_chunks(x, size) for x in d_piece]
    torch.addcmul(near_row.mul_(grown.view(flat)).view(q.shape), d_own, k, out=targets[0])
    torch.addcmul(near_col.div_(grown.view(flat)).view(q.shape), d_own, q, out=targets[1])
    targets[2].copy_(d_v)
    torch.addcmul(d_gate.view(q.shape), through.mT, total.mT, out=targets[3])
    return d_state


def _after(state: torch.Tensor | None, total: torch.Tensor, write: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The state after a chunk, decayed by ``total [N, K, 1]`` and written by ``write [N, K, C], value [N, C, V]``."""
    written = torch.bmm(write, value)
    return written if state is None else written.addcmul_(state, total)


def _chunks(x: torch.Tensor, size: int) -> torch.Tensor:
    """``[N, n, K]`` as ``[c, N, size, K]``: what is made of it lies chunk by chunk."""
    return x.unflatten(1, (-1, size)).transpose(0, 1)


def _from_middle(gate: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``e^x`` of every token of ``gate [c, N, C, K]``, and the decay from before the chunk to its middle.

    Products and not ``exp`` of sums: of a long way out and a long way back all errors cancel but those of the steps
    between. Sums would have to be taken in double precision.
    """
    middle = gate.shape[2] // 2 - 1
    grown = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    before, after = grown[:, :, :middle], grown[:, :, middle + 1 :]
    torch.exp(gate[:, :, 1 : middle + 1], out=before)
    grown[:, :, middle] = 1
    torch.exp(gate[:, :, middle + 1 :], out=after)
    for steps in (after.unbind(2), before.unbind(2)[::-1]):
        for i in range(1, len(steps)):
            steps[i].mul_(steps[i - 1])
    start = gate[:, :, :1].exp().mul_(grown[:, :, :1])
    before.reciprocal_()
    return grown, start


def _outwards(q: torch.Tensor, k: torch.Tensor, grown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``q e^x`` and ``k e^-x``."""
    row, col = torch.empty_like(grown), torch.empty_like(grown)
    return torch.mul(q, grown, out=row), torch.div(k, grown, out=col)
