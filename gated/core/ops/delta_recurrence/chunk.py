"""The fast form: the changes of a chunk are one triangular solve, and a chunk acts on the state as one small matrix."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from gated.core.ops._decay import blocks_for, chunk_decay, chunk_size, finite, in_chunks, leading, loops
from gated.core.ops._op import is_fixed, needs_plain
from gated.core.ops._products import columns_by_columns
from gated.core.ops._recurrence import Inputs, in_segments
from gated.core.ops._walk import Steps, at_once, walk
from gated.core.ops.delta_recurrence.walk import backward, forward

_GROUP = 16
_LONGEST = 8
"""Chunks in a row of a compiled graph: each takes five seconds to compile."""
_SHORT, _NARROW = 512, 32
"""Tokens of a sequence, and channels of a head, up to which chunks of 48 are faster than of 64: they take fewer
products, the time of large batches; long sequences of wide heads spend a good part on calls, so many a chunk."""


def chunk(
    inputs: Inputs, state: torch.Tensor | None, scale: float, *, decay_bound: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`gated.core.ops.delta_recurrence`."""
    inputs = inputs.wide()
    size = _walked(inputs)
    if size is None:
        return in_segments(partial(_segment, decay_bound=decay_bound), inputs.scaled(scale), inputs.start(state))
    q, k, v, gate, beta = inputs
    assert beta is not None
    gate = torch.zeros_like(beta) if gate is None else finite(gate)
    heads = v.shape[0] * v.shape[1]
    if not torch.compiler.is_compiling():  # a graph would get too long
        heads = at_once(size * max(size, _width(inputs)))
    return walk(_STEPS, (q, k, v, gate, beta), state, scale, size=size, heads=heads)


def _walked(inputs: Inputs) -> int | None:
    """Tokens in a chunk of a walk, or None where the chunks go side by side."""
    length, gate = inputs.q.shape[2], inputs.log_decay
    # of many small steps each would be the launch of a kernel on another device
    if inputs.q.device.type != "cpu" or needs_plain() or not is_fixed(length) or not length:
        return None
    if gate is not None and gate.dim() == 4:
        return None
    size = chunk_size(length, 48 if length <= _SHORT or _width(inputs) <= _NARROW else 64, halves=False)
    return None if torch.compiler.is_compiling() and length > _LONGEST * size else size


def _width(inputs: Inputs) -> int:
    return max(inputs.q.shape[-1], inputs.v.shape[-1])


def _plain(inputs: Inputs, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _segment(inputs, state, decay_bound=None)


_STEPS = Steps(forward, backward, _plain)


def _segment(inputs: Inputs, state: torch.Tensor, *, decay_bound: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    length, width = inputs.q.shape[2], inputs.v.shape[-1]
    gate = inputs.log_decay
    # half the chunk of the sums: errors grow with the size of the solve
    size = chunk_size(length, 32, halves=gate is not None and gate.dim() == 4)
    q, k, v = (in_chunks(x, size) for x in inputs[:3])
    assert inputs.beta is not None
    beta = in_chunks(inputs.beta, size).unsqueeze(-1)
    gate = None if gate is None else in_chunks(finite(gate, decay_bound), size)
    decay = chunk_decay((q, k), k, gate, decay_bound)
    read, overlap = decay.scores

    # row i: change_i + sum_{j<i} overlap_ij change_j = beta_i (v_i - what the state at the start holds for k_i)
    right = torch.cat((v, decay.readers[1]), -1) * beta
    # transposed, so that what LAPACK takes and gives by columns lies in rows: nothing is copied, and nothing strided
    lower = (overlap * beta).tril(-1)
    solved = torch.linalg.solve_triangular(lower.mT, right.mT, upper=True, left=False, unitriangular=True).mT
    fresh, seen = solved.split([width, k.shape[-1]], -1)

    writer, total = decay.writer, decay.log_total
    if total is not None:
        total = total.exp()[..., None, None] if total.dim() == 3 else total.exp()[..., None]
    scan = _scan if loops(fresh.shape[2]) else _scan_unrolled
    before, changes, state = scan(state, total, writer, fresh, seen)
    output = decay.readers[0] @ before + read @ changes
    return leading(output.flatten(2, 3), 2, length), state


def _scan(
    state: torch.Tensor, total: torch.Tensor | None, writer: torch.Tensor, fresh: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States before chunks ``[B, N, n, K, V]``, changes in them ``[B, N, n, C, V]``, and the state after the last."""
    states, changes = [], []
    for m, (write, new, held) in enumerate(zip(writer.unbind(2), fresh.unbind(2), seen.unbind(2), strict=True)):
        states.append(state)
        changes.append(new - held @ state)
        state = (state if total is None else state * total[:, :, m]) + columns_by_columns(write, changes[-1])
    if not states:
        return state.unsqueeze(2)[:, :, :0], fresh, state
    return torch.stack(states, 2), torch.stack(changes, 2), state


def _scan_unrolled(
    state: torch.Tensor, total: torch.Tensor | None, writer: torch.Tensor, fresh: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same without a loop over a number that may be symbolic: steps inside groups, then a solve over the groups."""
    count, width = fresh.shape[2], state.shape[-1]
    eye = torch.eye(state.shape[-2], dtype=state.dtype, device=state.device)
    step, writes = (eye if total is None else eye * total) - writer.mT @ seen, writer.mT @ fresh
    # padded steps keep the state
    groups = blocks_for(count, _GROUP)
    missing = groups * _GROUP - count
    step = F.pad(step - eye, (0, 0, 0, 0, 0, missing)) + eye
    writes = F.pad(writes, (0, 0, 0, 0, 0, missing))
    # per group, what m of its steps do: S -> first @ S + second, carried along as the columns of one matrix
    steps = torch.cat((step, writes), -1).unflatten(2, (groups, _GROUP))
    partial = [F.pad(eye, (0, width)).expand_as(steps[:, :, :, 0])]
    for m in range(_GROUP):
        moved = steps[:, :, :, m, :, : eye.shape[0]] @ partial[-1]
        partial.append(moved + F.pad(steps[:, :, :, m, :, eye.shape[0] :], (eye.shape[0], 0)))
    first, second = torch.stack(partial, 3).split([eye.shape[0], width], -1)

    # S_{g+1} - first_g S_g = second_g is unitriangular in the stacked states of the groups
    follows = torch.eye(groups, dtype=step.dtype, device=step.device)
    follows = F.pad(follows, (0, 1, 1, 0))  # [groups + 1, groups + 1], ones below the diagonal
    blocks = F.pad(first[:, :, :, -1], (0, 0, 0, 0, 1, 0)).unsqueeze(4)  # row block g + 1 holds first_g
    system = (-blocks * follows[:, None, :, None]).flatten(4, 5).flatten(2, 3)
    right = torch.cat((state.unsqueeze(2), second[:, :, :, -1]), 2).flatten(2, 3)
    starts = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    starts = starts.unflatten(2, (groups + 1, eye.shape[0]))
    inside = first[:, :, :, :-1] @ starts[:, :, :-1].unsqueeze(3) + second[:, :, :, :-1]
    before = leading(inside.flatten(2, 3), 2, count)
    return before, fresh - seen @ before, starts[:, :, -1]
