"""Decay per channel inside a chunk where a bound on it is known: products of ``row e^x`` and ``col e^-x``.

``x`` is the log decay from the middle of a block to a token. From block to block a way is a number per channel: the log
decay from a border of blocks to a middle, or from a middle to a border. Products of tokens in different blocks meet at
the border between them, in squares of twice, four times, ... the size. Where such a way is below e^-87 its factor is
zero, and what is lost of a product is below e^-47.

Backward follows the ways: a gate gets the sum over all ways across it. Ways that lead into a block, out of it or
through it are summed apart, so that nothing cancels. Only the inputs are kept: everything else is cheap to make again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from gated.core.ops._op import uncast

LARGEST = 80.0
"""A block decays at most by e^-80, so that the factors from its middle are below e^40."""


def block_size(bound: float | None, chunk: int) -> int:
    """Largest power of two up to ``chunk`` that ``bound`` allows, or 1 if it is too small to be of use."""
    size = 1
    while bound is not None and 2 * size <= chunk and 2 * size * -bound <= LARGEST:
        size *= 2
    return size if size >= 4 else 1


class Level(NamedTuple):
    """Pairs of neighbours, each ``width`` blocks wide: factors ``[..., pairs, width, 1, K]``."""

    width: int
    to_border: torch.Tensor
    from_border: torch.Tensor


class Ways(NamedTuple):
    """Factors ``[..., m, 1, K]`` of ``m`` blocks of a chunk, and ``grown [..., m, size, K]``, the ``e^x`` of tokens."""

    grown: torch.Tensor
    from_start: torch.Tensor
    to_end: torch.Tensor
    levels: list[Level]
    log_total: torch.Tensor


def ways(gate: torch.Tensor, size: int) -> Ways:
    """Multiply the decays of ``gate [..., C, K]`` outwards from the middles of blocks.

    Ways are products and not ``exp`` of sums: of a long way out and a long way back all errors cancel but those of the
    steps between. Sums would have to be taken in double precision, which takes ten times as long.
    """
    decay = gate.exp().unflatten(-2, (-1, size)).unbind(-2)
    one = torch.ones_like(decay[0])
    *before, start = accumulate(decay[size // 2 - 1 :: -1], torch.mul)
    after = list(accumulate(decay[size // 2 :], torch.mul))
    grown = torch.stack([*(x.reciprocal() for x in reversed(before)), one, *after], -2)
    start, end = start.unsqueeze(-2), after[-1].unsqueeze(-2)
    levels = []
    width = 1
    while width < start.shape[-3]:
        levels.append(
            Level(
                width,
                _to_end(_upper(start, width), _upper(end, width)),
                _from_start(_lower(start, width), _lower(end, width)),
            )
        )
        width *= 2
    return Ways(grown, _from_start(start, end), _to_end(start, end), levels, gate.sum(-2))


def _from_start(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """From before the first block to the middle of each, ``[..., m, 1, K]``; ``start`` and ``end`` are their halves."""
    whole = (start * end).unbind(-3)[:-1]
    return start * torch.stack(list(accumulate(whole, torch.mul, initial=torch.ones_like(start[..., 0, :, :]))), -3)


def _to_end(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """From the middle of each block to after the last."""
    return _from_start(end.flip(-3), start.flip(-3)).flip(-3)


class Centred(torch.autograd.Function):
    """``scores`` and ``readers`` of every row, ``writer`` and ``log_total``, as :class:`ChunkDecay` has them."""

    @staticmethod
    def forward(ctx: Any, size: int, gate: torch.Tensor, cols: torch.Tensor, *rows: torch.Tensor) -> Any:
        """``gate``, ``cols`` and ``rows`` are ``[..., C, K]``."""
        ctx.size = size
        ctx.save_for_backward(gate, cols, *rows)
        way = ways(gate, size)
        col = _blocks(cols, size) / way.grown
        scores, readers = [], []
        for original in rows:
            row = _blocks(original, size) * way.grown
            table = row.new_zeros(*original.shape[:-1], original.shape[-2])
            near = (row @ col.mT).tril(-1)
            # e^x e^-x would be one only nearly
            near.diagonal(dim1=-2, dim2=-1).copy_(_blocks(original * cols, size).sum(-1))
            _near(table, size).copy_(near)
            for level in way.levels:
                below = (_lower(row, level.width) * level.from_border).flatten(-3, -2)
                above = (_upper(col, level.width) * level.to_border).flatten(-3, -2)
                _far(table, level.width * size).copy_(below @ above.mT)
            scores.append(table)
            readers.append((row * way.from_start).flatten(-3, -2))
        return (*scores, *readers, (col * way.to_end).flatten(-3, -2), way.log_total)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Every way again, with what it carries back."""
        with uncast(grads[0].device):
            return None, *_backward(ctx.size, *ctx.saved_tensors, grads=grads)


def _backward(
    size: int, gate: torch.Tensor, cols: torch.Tensor, *rows: torch.Tensor, grads: Sequence[torch.Tensor]
) -> Iterator[torch.Tensor]:
    way = ways(gate, size)
    d_scores, d_readers = grads[: len(rows)], grads[len(rows) : -2]
    d_writer, d_total = grads[-2:]
    col, d_writer = _blocks(cols, size) / way.grown, _blocks(d_writer, size)
    # per block: what passes it whole
    through = d_total[..., None, None, :] + _down(d_writer * (col * way.to_end))
    d_col = d_writer * way.to_end
    d_rows, turns, d_near_cols, d_owns = [], [], [], []
    for original, d_table, d_reader in zip(rows, d_scores, d_readers, strict=True):
        row, d_reader = _blocks(original, size) * way.grown, _blocks(d_reader, size)
        through = through + _up(d_reader * (row * way.from_start))
        d_row = d_reader * way.from_start
        for level in way.levels:
            d_square = _far(d_table, level.width * size)
            lower, upper = _lower(row, level.width), _upper(col, level.width)
            below, above = (lower * level.from_border).flatten(-3, -2), (upper * level.to_border).flatten(-3, -2)
            d_below = (d_square @ above).unflatten(-2, (-1, size)) * level.from_border
            d_above = (d_square.mT @ below).unflatten(-2, (-1, size)) * level.to_border
            _lower(d_row, level.width).add_(d_below)
            _upper(d_col, level.width).add_(d_above)
            if level.width > 1:
                _lower(through, level.width).add_(_up(d_below * lower))
                _upper(through, level.width).add_(_down(d_above * upper))
        d_near = _near(d_table, size)
        d_own = d_near.diagonal(dim1=-2, dim2=-1).flatten(-2).unsqueeze(-1)
        d_near = d_near.tril(-1)
        d_row = d_row + d_near @ col
        turns.append(d_row * row)
        d_near_cols.append(d_near.mT @ row)
        d_rows.append(torch.addcmul(d_own * cols, d_row.flatten(-3, -2), way.grown.flatten(-3, -2)))
        d_owns.append(d_own * original)
    d_near_col = reduce(torch.add, d_near_cols)
    inside = ((d_col + d_near_col) / way.grown).flatten(-3, -2)
    turned = torch.addcmul(reduce(torch.add, turns), d_near_col, col, value=-1)
    into = list(accumulate(reversed(turned.unbind(-2)), torch.add))
    onward = list(accumulate((d_col * col).unbind(-2)[:-1], torch.add))
    d_gate = through + torch.stack([into[-1], *map(torch.add, reversed(into[:-1]), onward)], -2)
    yield d_gate.flatten(-3, -2)
    yield reduce(torch.add, (inside, *d_owns))
    yield from d_rows


def _up(products: torch.Tensor) -> torch.Tensor:
    """Per block the sum over the tokens of all blocks after it: ways that came from before it."""
    after = F.pad(products.sum(-2, keepdim=True), (0, 0, 0, 0, 0, 1))[..., 1:, :, :]
    return after.flip(-3).cumsum(-3).flip(-3)


def _down(products: torch.Tensor) -> torch.Tensor:
    """Per block the sum over the tokens of all blocks before it: ways that lead on after it."""
    before = F.pad(products.sum(-2, keepdim=True), (0, 0, 0, 0, 1, 0))[..., :-1, :, :]
    return before.cumsum(-3)


def _blocks(x: torch.Tensor, size: int) -> torch.Tensor:
    return x.unflatten(-2, (-1, size))


def _pairs(blocks: torch.Tensor, width: int) -> torch.Tensor:
    """``[..., 2 m width, i, K]`` to ``[..., m, 2, width, i, K]``."""
    return blocks.unflatten(-3, (-1, 2, width))


def _upper(blocks: torch.Tensor, width: int) -> torch.Tensor:
    return _pairs(blocks, width)[..., 0, :, :, :]


def _lower(blocks: torch.Tensor, width: int) -> torch.Tensor:
    return _pairs(blocks, width)[..., 1, :, :, :]


def _near(table: torch.Tensor, size: int) -> torch.Tensor:
    """The squares on the diagonal of ``[..., C, C]``, as a view ``[..., C / size, size, size]``."""
    squares = table.unflatten(-1, (-1, size)).unflatten(-3, (-1, size))
    return squares.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def _far(table: torch.Tensor, size: int) -> torch.Tensor:
    """The squares below the diagonal, between neighbours of ``size`` tokens, ``[..., C / (2 size), size, size]``."""
    return _near(table, 2 * size)[..., size:, :size]
