"""One gate a head, or none: the steps of a chunk, and their gradient written out (see ``_walk.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from gated.core.ops._decay import segment_decay
from gated.core.ops._products import scaled_product


class Kept(NamedTuple):
    """What backward needs of a chunk of ``C`` tokens and ``N`` heads.

    Attributes:
        weights: ``[N, C, C]``, decay from token ``j`` to token ``i >= j``, 0 above the diagonal.
        from_start: ``[N, C, 1]``, decay from before the chunk to each token.
        overlap: ``[N, C, C]``, ``k_i . k_j`` decayed, 0 on and above the diagonal.
        read: ``[N, C, C]``, ``q_i . k_j`` decayed.
        missing: ``[N, C, V]``, what the state lacks of the value when the token comes.
    """

    weights: torch.Tensor
    from_start: torch.Tensor
    overlap: torch.Tensor
    read: torch.Tensor
    missing: torch.Tensor


def forward(
    scale: float, chunk: Sequence[torch.Tensor], state: torch.Tensor | None, out: torch.Tensor
) -> tuple[torch.Tensor, Kept]:
    """Fill the output ``[N, C, V]`` of a chunk; return the state after it, and what to keep.

    Args:
        scale: factor on the queries.
        chunk: ``q, k [N, C, K], v [N, C, V], gate, beta [N, C]``, the gate finite.
        state: ``[N, K, V]`` before the chunk, or None for zeros.
        out: the output.
    """
    q, k, v, gate, beta = chunk
    beta = beta.unsqueeze(-1)
    weights = segment_decay(gate)
    from_start = gate.cumsum(-1).exp_().unsqueeze(-1)
    overlap = torch.bmm(k, k.mT).mul_(weights)
    overlap.diagonal(dim1=1, dim2=2).zero_()
    read = scaled_product(q, k.mT, scale).mul_(weights)
    wanted = v if state is None else torch.addcmul(v, torch.bmm(k, state), from_start, value=-1)
    # row i: missing_i + sum_{j<i} overlap_ij beta_j missing_j = wanted_i
    missing = _solved(overlap * beta.mT, wanted)
    change = missing * beta
    output, after = torch.bmm(read, change), torch.bmm((k * _to_end(weights)).mT, change)
    if state is not None:
        output.addcmul_(torch.bmm(q, state), from_start, value=scale)
        # not in place: torch.compile loses the gradient of a result that was
        after = after.addcmul(state, from_start[:, -1:])
    out.copy_(output)
    return after, Kept(weights, from_start, overlap, read, missing)


def backward(
    scale: float,
    chunk: Sequence[torch.Tensor],
    kept: Sequence[torch.Tensor],
    state: torch.Tensor | None,
    d_out: torch.Tensor,
    d_after: torch.Tensor | None,
    d_chunk: Sequence[torch.Tensor],
) -> torch.Tensor | None:
    """Fill the gradients of a chunk's ``q, k, v, gate, beta``; return that of the state before it.

    Args:
        scale: factor on the queries.
        chunk: as :func:`forward` was given it.
        kept: a :class:`Kept`.
        state: before the chunk, or None for zeros.
        d_out: gradient of the output.
        d_after: gradient of the state after the chunk, or None for zeros.
        d_chunk: the gradients.
    """
    q, k, _, _, beta = chunk
    beta = beta.unsqueeze(-1)
    weights, from_start, overlap, read, missing = kept
    change = missing * beta
    d_change = torch.bmm(read.mT, d_out)
    d_k = None
    if d_after is not None:
        d_change.baddbmm_(k * _to_end(weights), d_after)
        d_k = torch.bmm(change, d_after.mT).mul_(_to_end(weights))
        written = (d_k * k).sum(-1)
    # all that a change does: it is also missing less later
    d_change = _solved_transposed(overlap * beta, d_change)
    d_beta = (d_change * missing).sum(-1)
    d_v = d_change.mul_(beta)

    d_read = torch.bmm(d_out, change.mT)
    d_overlap = torch.bmm(d_v, change.mT)  # of minus the overlap
    d_overlap.diagonal(dim1=1, dim2=2).zero_()
    # a gate lies on the way from j to i of all pairs j < t <= i: sums of what they carry, so that nothing cancels
    carried = (d_read * read).addcmul_(d_overlap, overlap, value=-1)
    earlier = weights.new_ones(weights.shape[1:]).triu(1).expand_as(weights)
    d_gate = torch.bmm(carried, earlier).tril_().sum(1)

    d_overlap.mul_(weights)
    d_read.mul_(weights)
    d_q = scaled_product(d_read, k, scale)
    d_k = scaled_product(d_read.mT, q, scale) if d_k is None else d_k.baddbmm_(d_read.mT, q, alpha=scale)
    d_k.baddbmm_(d_overlap + d_overlap.mT, k, alpha=-1)
    d_state = None
    if state is not None:
        d_out, d_wanted = d_out * from_start, d_v * from_start
        d_reading, d_held = scaled_product(d_out, state.mT, scale), torch.bmm(d_wanted, state.mT)
        d_q += d_reading
        d_k -= d_held
        # from the start to token i leads the way over the gates up to i
        arrived = d_reading.mul_(q).sub_(d_held.mul_(k)).sum(-1)
        d_gate += arrived.flip(1).cumsum(1).flip(1)
        d_state = scaled_product(q.mT, d_out, scale).baddbmm_(k.mT, d_wanted, alpha=-1)
    if d_after is not None:
        d_gate[:, 1:] += written.cumsum(1)[:, :-1]
        if state is not None and d_state is not None:
            d_gate += (d_after * state).sum((1, 2)).unsqueeze(-1) * from_start[:, -1]
            d_state.addcmul_(d_after, from_start[:, -1:])
    for target, grad in zip(d_chunk, (d_q, d_k, d_v, d_gate, d_beta), strict=True):
        target.copy_(grad)
    return d_state


def _to_end(weights: torch.Tensor) -> torch.Tensor:
    return weights[:, -1].unsqueeze(-1)


def _solved(system: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """``(1 + tril(system, -1))^-1 right``.

    Transposed, so that what LAPACK takes and gives by columns lies in rows: nothing is copied, and nothing strided.
    """
    return torch.linalg.solve_triangular(system.mT, right.mT, upper=True, left=False, unitriangular=True).mT


def _solved_transposed(system: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """``(1 + tril(system, -1))^-T right``."""
    return torch.linalg.solve_triangular(system, right.mT, upper=False, left=False, unitriangular=True).mT
