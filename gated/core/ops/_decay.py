"""Products of decays inside a chunk and across chunks, always as ``exp`` of sums that are at most zero.

Sums of gates are built outwards from block borders and never as differences of longer sums: nothing cancels, so fp32 is
enough for any gate, from 0 to -inf, at any length.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from gated.core.ops._op import is_exporting

_NEGLIGIBLE = {torch.float32: -128.0, torch.float64: -800.0}
"""exp of this is zero, and a thousand times it is still an ordinary number (which -inf - -inf is not)."""
_DENSE, _GROUP = 48, 32


class ChunkDecay(NamedTuple):
    """How states enter and leave chunks of ``C`` tokens.

    Attributes:
        scores: for every ``rows`` the matrix ``sum_c rows_ic cols_jc e^{g_(j+1)c + .. + g_ic}``, ``j <= i``, else 0.
        from_start: decay from before the chunk to each token, ``[..., C, 1 or K]``, or None for none.
        to_end: decay from each token to the end of the chunk, likewise.
        log_total: log decay over the chunk, ``[...]`` or ``[..., K]``.
    """

    scores: list[torch.Tensor]
    from_start: torch.Tensor | None
    to_end: torch.Tensor | None
    log_total: torch.Tensor | None


def finite(gate: torch.Tensor) -> torch.Tensor:
    """Replace log decays whose ``exp`` is zero anyway by a finite number."""
    return gate.clamp_min(_NEGLIGIBLE[gate.dtype])


def scaled(x: torch.Tensor, factor: torch.Tensor | None) -> torch.Tensor:
    """``x * factor``; None stands for one."""
    return x if factor is None else x * factor


def segment_sums(gate: torch.Tensor) -> torch.Tensor:
    """``[..., n] -> [..., n, n]`` with ``gate[j+1] + .. + gate[i]`` at ``(i, j)``, 0 on the diagonal and -inf above."""
    size = gate.shape[-1]
    sums = gate.unsqueeze(-1).expand(*gate.shape, size).tril(-1).cumsum(-2)
    above = torch.ones(size, size, dtype=torch.bool, device=gate.device).triu(1)
    return sums.masked_fill(above, float("-inf"))


def chunk_decay(
    rows: tuple[torch.Tensor, ...], cols: torch.Tensor, gate: torch.Tensor | None, bound: float | None
) -> ChunkDecay:
    """Return the decayed products ``rows cols^T`` of each chunk and the decays at its borders.

    Args:
        rows: tensors ``[..., C, K]``.
        cols: ``[..., C, K]``.
        gate: None, ``[..., C]``, or ``[..., C, K]`` (then ``C`` is a power of two); finite.
        bound: lower bound of ``gate`` if one is known.
    """
    if gate is None:
        return ChunkDecay([(row @ cols.mT).tril() for row in rows], None, None, None)
    if gate.dim() == cols.dim():
        return _channel_decay(rows, cols, gate, bound)
    sums = segment_sums(gate)
    weights = sums.exp()
    from_start = sums[..., 0] + gate[..., :1]
    return ChunkDecay(
        [row @ cols.mT * weights for row in rows],
        from_start.exp().unsqueeze(-1),
        weights[..., -1, :].unsqueeze(-1),
        finite(from_start[..., -1]),
    )


def _channel_decay(
    rows: tuple[torch.Tensor, ...], cols: torch.Tensor, gate: torch.Tensor, bound: float | None
) -> ChunkDecay:
    """Double the blocks: the square between two neighbours is one matmul, its factors both decayed to their border."""
    size = _factorising_size(bound, gate.shape[-2])
    blocks = gate.unflatten(-2, (-1, size))
    if size == 1:
        scores = [(row * cols).sum(-1)[..., None, None] for row in rows]
        start, end = blocks, torch.zeros_like(blocks)
    else:
        scores = _factorised(rows, cols, blocks)
        start = blocks.cumsum(-2)
        end = F.pad(blocks.flip(-2)[..., :-1, :], (0, 0, 1, 0)).cumsum(-2).flip(-2)
    while size < gate.shape[-2]:
        start_top, start_bottom = start.unflatten(-3, (-1, 2)).unbind(-3)
        end_top, end_bottom = end.unflatten(-3, (-1, 2)).unbind(-3)
        to_border, from_border = end_top.exp(), start_bottom.exp()
        col = cols.unflatten(-2, (-1, 2, size))[..., 0, :, :] * to_border
        for i, row in enumerate(rows):
            row = row.unflatten(-2, (-1, 2, size))[..., 1, :, :] * from_border
            top, bottom = scores[i].unflatten(-3, (-1, 2)).unbind(-3)
            square = row @ col.mT if size > 2 else (row.unsqueeze(-2) * col.unsqueeze(-3)).sum(-1)
            scores[i] = torch.cat((F.pad(top, (0, size)), torch.cat((square, bottom), -1)), -2)
        start, end = (
            torch.cat((start_top, start_bottom + start_top[..., -1:, :]), -2),
            torch.cat((end_top + start_bottom[..., -1:, :], end_bottom), -2),
        )
        size *= 2
    start, end = start.squeeze(-3), end.squeeze(-3)
    return ChunkDecay([s.squeeze(-3) for s in scores], start.exp(), end.exp(), finite(start[..., -1, :]))


def _factorising_size(bound: float | None, chunk: int) -> int:
    """Largest block over which the decay is at least e^-80: ``e^x`` and ``e^-x`` around its middle are finite."""
    size = 1
    while bound is not None and 2 * size <= chunk and 2 * size * -bound <= 80.0:
        size *= 2
    return size if size >= 4 else 1


def _factorised(rows: tuple[torch.Tensor, ...], cols: torch.Tensor, blocks: torch.Tensor) -> list[torch.Tensor]:
    """``(row e^x)(col e^-x)^T`` with ``x`` the log decay from the middle of a block of 4 or more tokens."""
    size = blocks.shape[-2]
    sums = blocks.double().cumsum(-2)  # e^x to fp32 accuracy needs x to better than that
    grown = (sums - sums[..., size // 2 - 1 : size // 2, :]).exp()
    col = cols.unflatten(-2, (-1, size)) * grown.reciprocal().to(cols.dtype)
    grown = grown.to(cols.dtype)
    own = [(row * cols).sum(-1).unflatten(-1, (-1, size)) for row in rows]  # e^x e^-x would be one only nearly
    below = [(row.unflatten(-2, (-1, size)) * grown @ col.mT).tril(-1) for row in rows]
    return [b + torch.diag_embed(o) for b, o in zip(below, own, strict=True)]


def scan_states(writes: torch.Tensor, log_total: torch.Tensor | None) -> torch.Tensor:
    """``S_m = e^{a_m} S_{m-1} + writes_m`` without a loop over ``m``, so that its number may be symbolic.

    Args:
        writes: ``[B, N, n, K, V]``.
        log_total: ``a``: ``[B, N, n]``, ``[B, N, n, K]`` or None for zero.
    """
    if log_total is None:
        return writes.cumsum(2)
    if log_total.dim() == 3:
        return _scan(writes.flatten(3), log_total).unflatten(-1, writes.shape[-2:])
    return _scan(writes.transpose(2, 3), log_total.transpose(2, 3)).transpose(2, 3)


def _scan(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """``y_m = e^{a_m} y_{m-1} + x_m`` along the last axis of ``a [..., n]``, the last but one of ``x [..., n, F]``."""
    count = a.shape[-1]
    if not torch.compiler.is_compiling() and count <= _DENSE:
        return segment_sums(a).exp() @ x
    # two levels: groups in parallel, then the groups among each other
    groups = blocks_for(count, _GROUP)
    x = F.pad(x, (0, 0, 0, groups * _GROUP - count)).unflatten(-2, (groups, _GROUP))
    a = F.pad(a, (0, groups * _GROUP - count)).unflatten(-1, (groups, _GROUP))
    inner = segment_sums(a).exp() @ x
    carried = segment_sums(finite(a.sum(-1))).exp() @ inner[..., -1, :]
    before = F.pad(carried, (0, 0, 1, 0))[..., :-1, :]
    y = inner + a.cumsum(-1).exp().unsqueeze(-1) * before.unsqueeze(-2)
    return leading(y.flatten(-3, -2), -2, count)


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

    A compiled graph serves any length, so it takes ``largest``. With ``halves`` the size is a power of two.
    """
    if torch.compiler.is_compiling():
        return largest
    if not halves:
        chunks = max(1, -(-length // largest))
        return max(1, -(-length // chunks))
    size = largest
    while size > 1 and -length % size > length // 4:
        size //= 2
    return size
