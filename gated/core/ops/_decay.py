"""Products of decays inside a chunk and across chunks, always as ``exp`` of sums that are at most zero.

Sums of gates are built outwards from block borders and never as differences of longer sums: nothing cancels, so fp32 is
enough for any gate, from 0 to -inf, at any length.
"""

from __future__ import annotations

from itertools import repeat

import torch
import torch.nn.functional as F

from gated.core.ops._decay_centred import Centred, block_size
from gated.core.ops._decay_channel import ChunkDecay, doubled
from gated.core.ops._op import is_exporting, is_fixed, needs_plain
from gated.core.ops._products import rows_by_rows

_NEGLIGIBLE = {torch.float32: -128.0, torch.float64: -800.0}
"""exp of this is zero, and a thousand times it is still an ordinary number (which -inf - -inf is not)."""
_GROUP = 32
_LOOPED = 64


def finite(gate: torch.Tensor, bound: float | None = None) -> torch.Tensor:
    """Replace log decays whose ``exp`` is zero anyway by a finite number; ``bound`` may promise that there are none."""
    if bound is not None and bound >= _NEGLIGIBLE[gate.dtype]:
        return gate
    return gate.clamp_min(_NEGLIGIBLE[gate.dtype])


def segment_decay(gate: torch.Tensor) -> torch.Tensor:
    """``[..., n] -> [..., n, n]`` with ``e^{gate[j+1] + .. + gate[i]}`` at ``(i, j)``, 1 on the diagonal, 0 above."""
    size = gate.shape[-1]
    # zeros above the diagonal after exp and not -inf before it: the vector code for exp takes its slow way for -inf
    return gate.unsqueeze(-1).expand(*gate.shape, size).tril(-1).cumsum_(-2).exp_().tril()


def chunk_decay(
    rows: tuple[torch.Tensor, ...], cols: torch.Tensor, gate: torch.Tensor | None, bound: float | None
) -> ChunkDecay:
    """Return the decayed products ``rows cols^T`` of each chunk, and rows and columns decayed to its borders.

    Args:
        rows: tensors ``[..., C, K]``.
        cols: ``[..., C, K]``.
        gate: None, ``[..., C]``, or ``[..., C, K]`` (then ``C`` is a power of two); finite.
        bound: lower bound of ``gate`` if one is known.
    """
    if gate is None:
        return ChunkDecay([rows_by_rows(row, cols).tril() for row in rows], list(rows), cols, None)
    if gate.dim() == cols.dim():
        size = block_size(bound, gate.shape[-2])
        if size == 1 or needs_plain():
            return doubled(rows, cols, gate)
        # views, since torch.compile loses a gradient of a tensor that is given twice, as row and as column
        *made, writer, log_total = Centred.apply(size, gate, cols, *(row.view_as(row) for row in rows))
        return ChunkDecay(made[: len(rows)], made[len(rows) :], writer, finite(log_total))
    weights = segment_decay(gate)
    from_start = weights[..., 0] * gate[..., :1].exp()
    return ChunkDecay(
        [rows_by_rows(row, cols) * weights for row in rows],
        [row * from_start.unsqueeze(-1) for row in rows],
        cols * weights[..., -1, :].unsqueeze(-1),
        finite(gate.sum(-1)),
    )


def scan_states(
    state: torch.Tensor, writes: torch.Tensor, log_total: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """``S_m = e^{a_m} S_{m-1} + writes_m``, from ``S_0`` on.

    Args:
        state: ``S_0 [B, N, K, V]``.
        writes: ``[B, N, n, K, V]``.
        log_total: ``a``: ``[B, N, n]``, ``[B, N, n, K]`` or None for zero.

    Returns:
        The states before each chunk ``[B, N, n, K, V]``, and the one after the last.
    """
    if not loops(writes.shape[2]):
        states = _scan_unrolled(state, writes, log_total)
        return states[:, :, :-1], states[:, :, -1]
    before = []
    totals = repeat(None) if log_total is None else _per_row(log_total).exp().unbind(2)
    for write, total in zip(writes.unbind(2), totals, strict=False):
        before.append(state)
        state = write + state if total is None else torch.addcmul(write, total, state)
    return torch.stack(before, 2) if before else writes, state


def loops(count: int) -> bool:
    """Whether to take so many chunks in turn: in a graph only a few, and only if their number is known."""
    return not torch.compiler.is_compiling() or (is_fixed(count) and count <= _LOOPED)


def _scan_unrolled(state: torch.Tensor, writes: torch.Tensor, log_total: torch.Tensor | None) -> torch.Tensor:
    """All of them without a loop over a number that may be symbolic: groups in parallel, then the groups in turn."""
    # the initial state is the write of a chunk before the first
    x = torch.cat((state.unsqueeze(2), writes), 2)
    if log_total is None:
        return x.cumsum(2)
    a = F.pad(_per_row(log_total).squeeze(-1).transpose(2, 3), (1, 0))
    x = x.transpose(2, 3) if log_total.dim() == 4 else x.flatten(3).unsqueeze(2)
    count = x.shape[3]
    groups = blocks_for(count, _GROUP)
    x = F.pad(x, (0, 0, 0, groups * _GROUP - count)).unflatten(-2, (groups, _GROUP))
    a = F.pad(a, (0, groups * _GROUP - count)).unflatten(-1, (groups, _GROUP))
    inner = segment_decay(a) @ x
    carried = segment_decay(finite(a.sum(-1))) @ inner[..., -1, :]
    before = F.pad(carried, (0, 0, 1, 0))[..., :-1, :]
    y = leading((inner + a.cumsum(-1).exp().unsqueeze(-1) * before.unsqueeze(-2)).flatten(-3, -2), -2, count)
    return y.transpose(2, 3) if log_total.dim() == 4 else y.squeeze(2).unflatten(-1, writes.shape[-2:])


def _per_row(log_total: torch.Tensor) -> torch.Tensor:
    """``[B, N, n, 1 or K, 1]``."""
    return log_total[..., None, None] if log_total.dim() == 3 else log_total.unsqueeze(-1)


def in_chunks(x: torch.Tensor, size: int) -> torch.Tensor:
    """``[B, N, T, ...] -> [B, N, T/size, size, ...]``, zero-padded at the end: zeros neither write nor decay."""
    count = blocks_for(x.shape[2], size)  # spelt out: export cannot simplify what a size of -1 would stand for
    return F.pad(x, [0, 0] * (x.dim() - 3) + [0, count * size - x.shape[2]]).unflatten(2, (count, size))


def blocks_for(length: int, size: int) -> int:
    """How many blocks of ``size`` hold ``length``; one more in an export, where a count of 1 would become fixed."""
    spare = size + 2 if is_exporting() else 0
    return (length + spare + size - 1) // size


def leading(x: torch.Tensor, dim: int, count: int) -> torch.Tensor:
    """The first ``count`` along ``dim``; a copy in an export, where strides of a view would tie the length down."""
    if is_exporting():
        return x.index_select(dim, torch.arange(count, device=x.device))
    return x.narrow(dim, 0, count)


def chunk_size(length: int, largest: int, *, halves: bool) -> int:
    """Tokens in a chunk, at most ``largest``, so that the last chunk of a short sequence is not mostly padding.

    A graph that serves any length takes ``largest``. With ``halves`` the size is a power of two.
    """
    if not is_fixed(length):
        return largest
    if not halves:
        chunks = max(1, -(-length // largest))
        return max(1, -(-length // chunks))
    size = largest
    while size > 1 and -length % size > length // 4:
        size //= 2
    return size
