"""Decay per channel inside a chunk does not factor out of the products: blocks are doubled from their borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from gated.core.ops._products import rows_by_rows


class ChunkDecay(NamedTuple):
    """What leaves and enters chunks of ``C`` tokens, decayed on its way.

    Attributes:
        scores: for every ``rows`` the matrix ``sum_c rows_ic cols_jc e^{g_(j+1)c + .. + g_ic}``, ``j <= i``, else 0.
        readers: every ``rows``, decayed from before the chunk to each token: they meet the state at its start.
        writer: ``cols``, decayed from each token to the end of the chunk: it writes the state at its end.
        log_total: log decay over the chunk, ``[...]`` or ``[..., K]``, or None for none.
    """

    scores: list[torch.Tensor]
    readers: list[torch.Tensor]
    writer: torch.Tensor
    log_total: torch.Tensor | None


def doubled(rows: Sequence[torch.Tensor], cols: torch.Tensor, gate: torch.Tensor) -> ChunkDecay:
    """Any gate: the square between two neighbours is one matmul, its factors both decayed to their border."""
    start, end = gate.unsqueeze(-2), torch.zeros_like(gate).unsqueeze(-2)
    scores = [(row * cols).sum(-1)[..., None, None] for row in rows]
    size = 1
    while size < gate.shape[-2]:
        start_top, start_bottom = start.unflatten(-3, (-1, 2)).unbind(-3)
        end_top, end_bottom = end.unflatten(-3, (-1, 2)).unbind(-3)
        to_border, from_border = end_top.exp(), start_bottom.exp()
        col = cols.unflatten(-2, (-1, 2, size))[..., 0, :, :] * to_border
        for i, row in enumerate(rows):
            row = row.unflatten(-2, (-1, 2, size))[..., 1, :, :] * from_border
            square = rows_by_rows(row, col) if size > 2 else (row.unsqueeze(-2) * col.unsqueeze(-3)).sum(-1)
            scores[i] = _joined(scores[i], square)
        start, end = (
            torch.cat((start_top, start_bottom + start_top[..., -1:, :]), -2),
            torch.cat((end_top + start_bottom[..., -1:, :], end_bottom), -2),
        )
        size *= 2
    start, end = start.squeeze(-3), end.squeeze(-3)
    readers = [row * start.exp() for row in rows]
    return ChunkDecay([s.squeeze(-3) for s in scores], readers, cols * end.exp(), start[..., -1, :])


def _joined(scores: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """``[..., 2m, C, C]`` on the diagonal and ``square [..., m, C, C]`` below it: ``[..., m, 2C, 2C]``."""
    top, bottom = scores.unflatten(-3, (-1, 2)).unbind(-3)
    return torch.cat((F.pad(top, (0, square.shape[-1])), torch.cat((square, bottom), -1)), -2)
