"""One gate a head, or none: chunk after chunk with the gradient written out, so that a chunk is still in the cache.

``chunk.py`` does each step for all chunks at once, and its tensors have left the processor's cache when the next step
reads them: of a short sequence of many heads, twice the time. Here all steps of a chunk follow each other, and
backward, where autograd would spread them out again, takes the chunks from the last to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from gated.core.ops._decay import segment_decay
from gated.core.ops._op import uncast

Plain = Callable[..., tuple[torch.Tensor, torch.Tensor]]


class Kept(NamedTuple):
    """What backward needs of a chunk of ``C`` tokens and ``N`` heads.

    Attributes:
        weights: ``[N, C, C]``, decay from token ``j`` to token ``i >= j``, 0 above the diagonal.
        from_start: ``[N, C, 1]``, decay from before the chunk to each token.
        overlap: ``[N, C, C]``, ``k_i . k_j`` decayed, 0 on and above the diagonal.
        read: ``[N, C, C]``, ``q_i . k_j`` decayed.
        missing: ``[N, C, V]``, what the state lacks of the value when the token comes.
        change: ``[N, C, V]``, the rows that the tokens write, ``beta`` times ``missing``.
    """

    weights: torch.Tensor
    from_start: torch.Tensor
    overlap: torch.Tensor
    read: torch.Tensor
    missing: torch.Tensor
    change: torch.Tensor


def walk(
    plain: Plain,
    size: int,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: torch.Tensor,
    gate: torch.Tensor,
    state: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the output ``[N, T, V]`` and the state after the last token.

    Args:
        plain: the same function of the tensors in operations that autograd follows, for the gradient of a gradient.
        size: tokens in a chunk.
        q: ``[N, T, K]``, ``T`` at least one.
        k: ``[N, T, K]``.
        v: ``[N, T, V]``.
        beta: ``[N, T]``.
        gate: ``[N, T]``, finite.
        state: ``[N, K, V]``, or None for zeros.
    """
    if torch.is_grad_enabled():
        result: tuple[torch.Tensor, torch.Tensor] = _Walk.apply(plain, size, q, k, v, beta, gate, state)
        return result
    output, after, _ = _forward(size, (q, k, v, beta, gate), state, keep=False)
    return output, after


def _forward(
    size: int, inputs: Sequence[torch.Tensor], state: torch.Tensor | None, *, keep: bool
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor | None]]:
    """Output, last state, and if ``keep`` what backward needs: states before the chunks, then what else is kept."""
    q, k, v, beta, gate = inputs
    outputs: list[torch.Tensor] = []
    kept: list[torch.Tensor] = []
    states = [state]
    for chunk in zip(*(x.split(size, 1) for x in (q, k, v, beta.unsqueeze(-1), gate)), strict=True):
        output, state, found = _step(chunk, state)
        outputs.append(output)
        if keep:
            states.append(state)
            kept.extend(found)
    assert state is not None
    return torch.cat(outputs, 1), state, [*states[:-1], *kept]


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plain: Plain, size: int, *tensors: torch.Tensor | None) -> Any:
        """See :func:`walk`."""
        *inputs, state = tensors
        ctx.plain, ctx.size = plain, size
        ctx.set_materialize_grads(False)
        output, after, kept = _forward(size, inputs, state, keep=True)  # type: ignore[arg-type]
        ctx.save_for_backward(*inputs, *kept)
        return output, after

    @staticmethod
    def backward(ctx: Any, d_output: torch.Tensor | None, d_state: torch.Tensor | None) -> tuple[Any, ...]:
        """Chunks from the last to the first, with the gradient of the state between them."""
        inputs, saved = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
        if torch.is_grad_enabled():  # a gradient that will itself be differentiated
            wanted = ctx.needs_input_grad[2:]
            return None, None, *_differentiable(ctx.plain, (*inputs, saved[0]), (d_output, d_state), wanted)
        q, k, v, beta, _ = inputs
        with uncast(q.device):
            d_output = torch.zeros_like(v) if d_output is None else d_output
            chunks = list(zip(*(x.split(ctx.size, 1) for x in (q, k, beta.unsqueeze(-1), d_output)), strict=True))
            count, width, found = len(chunks), len(Kept._fields), []
            for m in reversed(range(count)):
                kept = Kept(*saved[count + m * width : count + (m + 1) * width])
                grads, d_state = _step_back(chunks[m], kept, saved[m], d_state)
                found.append(grads)
            joined = [torch.cat(x, 1) for x in zip(*reversed(found), strict=True)]
        return None, None, *joined, d_state


def _step(chunk: Sequence[torch.Tensor], state: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, Kept]:
    """Output of a chunk ``q, k, v, beta [N, C, 1], gate``, the state after it, and what backward needs."""
    q, k, v, beta, gate = chunk
    weights = segment_decay(gate)
    from_start = gate.cumsum(-1).exp_().unsqueeze(-1)
    overlap = torch.bmm(k, k.mT).mul_(weights)
    overlap.diagonal(dim1=1, dim2=2).zero_()
    read = torch.bmm(q, k.mT).mul_(weights)
    wanted = v if state is None else torch.addcmul(v, torch.bmm(k, state), from_start, value=-1)
    # row i: missing_i + sum_{j<i} overlap_ij beta_j missing_j = wanted_i
    missing = _solved(overlap * beta.mT, wanted)
    change = missing * beta
    output, after = torch.bmm(read, change), torch.bmm((k * _to_end(weights)).mT, change)
    if state is not None:
        output.addcmul_(torch.bmm(q, state), from_start)
        # not in place: torch.compile loses the gradient of a result that was
        after = after.addcmul(state, from_start[:, -1:])
    return output, after, Kept(weights, from_start, overlap, read, missing, change)


def _step_back(
    chunk: Sequence[torch.Tensor], kept: Kept, state: torch.Tensor | None, d_after: torch.Tensor | None
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
    """Gradients of a chunk's ``q, k, v, beta, gate``, and that of the state before it.

    Args:
        chunk: ``q, k, beta [N, C, 1]`` and the gradient of the output.
        kept: what the way forward left.
        state: before the chunk, or None for zeros.
        d_after: gradient of the state after the chunk, or None for zeros.
    """
    q, k, beta, d_out = chunk
    weights, from_start, overlap, read, missing, change = kept
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
    d_gate = F.pad(carried.cumsum_(-1)[:, 1:, :-1].tril().sum(1), (1, 0))

    d_overlap.mul_(weights)
    d_read.mul_(weights)
    d_q = torch.bmm(d_read, k)
    d_k = torch.bmm(d_read.mT, q) if d_k is None else d_k.baddbmm_(d_read.mT, q)
    d_k.baddbmm_(d_overlap + d_overlap.mT, k, alpha=-1)
    d_state = None
    if state is not None:
        d_out, d_wanted = d_out * from_start, d_v * from_start
        d_reading, d_held = torch.bmm(d_out, state.mT), torch.bmm(d_wanted, state.mT)
        d_q += d_reading
        d_k -= d_held
        # from the start to token i leads the way over the gates up to i
        arrived = d_reading.mul_(q).sub_(d_held.mul_(k)).sum(-1)
        d_gate += arrived.flip(1).cumsum(1).flip(1)
        d_state = torch.bmm(q.mT, d_out).baddbmm_(k.mT, d_wanted, alpha=-1)
    if d_after is not None:
        d_gate[:, 1:] += written.cumsum(1)[:, :-1]
        if state is not None and d_state is not None:
            d_gate += (d_after * state).sum((1, 2)).unsqueeze(-1) * from_start[:, -1]
            d_state.addcmul_(d_after, from_start[:, -1:])
    return (d_q, d_k, d_v, d_beta, d_gate), d_state


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


def _differentiable(
    plain: Plain,
    inputs: tuple[torch.Tensor | None, ...],
    grads: tuple[torch.Tensor | None, torch.Tensor | None],
    needed: tuple[bool, ...],
) -> list[torch.Tensor | None]:
    """Gradients of ``inputs`` by autograd through ``plain``."""
    reached = [(result, grad) for result, grad in zip(plain(*inputs), grads, strict=True) if grad is not None]
    wanted = [x for x, need in zip(inputs, needed, strict=True) if need and x is not None]
    results, carried = zip(*reached, strict=True)
    found = iter(torch.autograd.grad(results, wanted, carried, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needed]
