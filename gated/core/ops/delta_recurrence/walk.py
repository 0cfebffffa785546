"""One gate a head, or none: the steps of a chunk, and their gradient written out (see ``_walk.py``).

Sums of gates between two tokens, and sums of what leads over a gate, are differences of sums from the start of the
chunk. Those are taken in double precision, where nothing of fp32 is lost, for it is less work than to avoid them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

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
    sums = gate.double().cumsum(-1).unsqueeze(-1)
    # zeros above the diagonal before exp too, where sums are positive
    weights = (sums - sums.mT).to(gate.dtype).tril_().exp_().tril_()
    from_start = sums.to(gate.dtype).exp_()
    overlap = torch.bmm(k, k.mT).mul_(weights).tril_(-1)
    read = scaled_product(q, k.mT, scale).mul_(weights)
    wanted = v if state is None else torch.addcmul(v, torch.bmm(k, state), from_start, value=-1)
    # row i: missing_i + sum_{j<i} overlap_ij beta_j missing_j = wanted_i
    missing = _solved(overlap * beta.mT, wanted)
    change = missing * beta
    output, after = torch.bmm(read, change), torch.bmm((k * _to_end(weights)).mT, change)
    if state is None:
        out.copy_(output)
    else:
        torch.addcmul(output, torch.bmm(q, state), from_start, value=scale, out=out)
        # not in place: torch.compile loses the gradient of a result that was
        after = after.addcmul(state, from_start[:, -1:])
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
    d_q, d_k, d_v, d_gate, d_beta = d_chunk
    beta = beta.unsqueeze(-1)
    weights, from_start, overlap, read, missing = kept
    to_end = _to_end(weights)
    change = missing * beta
    d_change = torch.bmm(read.mT, d_out)
    written = None
    if d_after is not None:
        d_change.baddbmm_(k * to_end, d_after)
        written = torch.bmm(change, d_after.mT).mul_(to_end)
    # all that a change does: it is also missing less later
    d_change = _solved_transposed(overlap * beta, d_change)
    d_beta.copy_((d_change * missing).sum(-1))
    torch.mul(d_change, beta, out=d_v)

    d_read = torch.bmm(d_out, change.mT)
    d_overlap = torch.bmm(d_v, change.mT).tril_(-1)  # of minus the overlap
    # a gate lies on the way from j to i of all pairs j < t <= i: of those that start before t, less those that end
    carried = (d_read * read).addcmul_(d_overlap, overlap, value=-1).tril_(-1).double()
    passing = carried.sum(1).sub_(carried.sum(2))
    over_all: torch.Tensor | float = 0.0

    d_read.mul_(weights)
    d_keys = scaled_product(d_read.mT, q, scale)
    d_keys.baddbmm_(d_overlap.mul_(weights) + d_overlap.mT, k, alpha=-1)
    d_reading = scaled_product(d_read, k, scale)
    d_state = None
    if written is not None:
        d_keys += written
        passing += (written * k).sum(-1)
    if state is None:
        d_q.copy_(d_reading)
        d_k.copy_(d_keys)
    else:
        d_out, d_wanted = d_out * from_start, d_v * from_start
        d_arriving, d_held = scaled_product(d_out, state.mT, scale), torch.bmm(d_wanted, state.mT)
        torch.add(d_reading, d_arriving, out=d_q)
        torch.sub(d_keys, d_held, out=d_k)
        # from the start to token i leads the way over the gates up to i
        arrived = d_arriving.mul_(q).sub_(d_held.mul_(k)).sum(-1)
        passing -= arrived
        over_all = arrived.double().sum(1, keepdim=True)
        if d_after is None:
            d_state = scaled_product(q.mT, d_out, scale)
        else:
            over_all += (d_after * state).sum((1, 2)).unsqueeze(-1) * from_start[:, -1]
            d_state = (d_after * from_start[:, -1:]).baddbmm_(q.mT, d_out, alpha=scale)
        d_state.baddbmm_(k.mT, d_wanted, alpha=-1)
    d_gate.copy_(passing.cumsum(1).sub_(passing).add_(over_all))
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
