"""The forget gate as a bias on the scores: sums of log gates between query and key, exact at any length."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch

Forget: TypeAlias = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class Decay(NamedTuple):
    """Potentials whose differences are the bias: ``past_i - past_j`` for ``j <= i``, ``future_i - future_j`` after.

    They are kept in double precision: a difference of two sums over 100,000 gates loses four digits of single precision
    just where the bias is small and matters. A gate of -inf would poison the sums, so such gates count as zero in them
    and are counted apart: the bias is -inf where the counts differ.

    Attributes:
        past: ``[..., T]`` double.
        future: ``[..., T]`` double.
        past_resets: ``[..., T]`` int, gates of -inf so far.
        future_resets: ``[..., T]`` int.
    """

    past: torch.Tensor
    future: torch.Tensor
    past_resets: torch.Tensor
    future_resets: torch.Tensor


def decay(log_forget: Forget) -> Decay:
    """Sum the log gates: one gate ``[B, H, T]`` for both sides, or a pair for the past and the future."""
    past, future = log_forget if isinstance(log_forget, tuple) else (log_forget, None)
    sums, resets = _sums(past)
    if future is None:
        return Decay(sums, -sums, resets, resets)
    future_sums, future_resets = (t.flip(-1) for t in _sums(future.flip(-1)))
    return Decay(sums, future_sums, resets, future_resets)


def _sums(gate: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    hard = gate == float("-inf")
    return gate.masked_fill(hard, 0.0).double().cumsum(-1), hard.cumsum(-1)


def reach(d: Decay, starts: list[int], stops: list[int], least: float) -> tuple[list[int], list[int]]:
    """Return the first key, and one past the last, whose bias is at least ``least`` (< 0) for blocks of queries.

    A block holds the queries ``start..stop-1``, and the key may count in any head of any sequence. A gate of -inf
    counts as zero here too: keys that it hides may lie inside.
    """
    past, future = (-d.past).flatten(0, -2), d.future.flatten(0, -2)  # both ascend
    before = torch.searchsorted(past.contiguous(), past[:, starts] + least)
    after = torch.searchsorted(future.contiguous(), future[:, [i - 1 for i in stops]] - least, right=True)
    return before.amin(0).tolist(), after.amax(0).tolist()


def bias(d: Decay, i0: int, i1: int) -> torch.Tensor:
    """Return the bias ``[..., n, n]`` (double) of queries ``i0..i1-1`` on the keys of the same places."""
    past, future, past_resets, future_resets = (t[..., i0:i1] for t in d)
    place = torch.arange(past.shape[-1], device=past.device)
    before = place <= place[:, None]
    cut = torch.where(before, _table(past_resets), _table(future_resets)) != 0
    return torch.where(before, _table(past), _table(future)).masked_fill(cut, float("-inf"))


def _table(x: torch.Tensor) -> torch.Tensor:
    return x[..., :, None] - x[..., None, :]


def add_bias_(scores: torch.Tensor, d: Decay, i0: int, i1: int, lo: int) -> None:
    """Add the bias of queries ``i0..i1-1`` to their scores ``[..., i1 - i0, keys]``, whose first key is ``lo <= i0``.

    Outside the square on the diagonal the bias is a row term plus a column term, both <= 0 and both relative to the
    edge of the block: no cancellation, hence single precision is enough there and no matrix is made.
    """
    hi = lo + scores.shape[-1]
    scores[..., i0 - lo : i1 - lo] += bias(d, i0, i1).to(scores.dtype)
    if lo < i0:
        _add_side_(scores[..., : i0 - lo], d.past, d.past_resets, slice(i0, i1), slice(lo, i0), i0)
    if hi > i1:
        _add_side_(scores[..., i1 - lo :], d.future, d.future_resets, slice(i0, i1), slice(i1, hi), i1 - 1)


def _add_side_(
    scores: torch.Tensor, sums: torch.Tensor, resets: torch.Tensor, rows: slice, columns: slice, edge: int
) -> None:
    at_edge, resets_at_edge = sums[..., edge, None], resets[..., edge, None]
    row = (sums[..., rows] - at_edge).masked_fill(resets[..., rows] != resets_at_edge, float("-inf"))
    column = (at_edge - sums[..., columns]).masked_fill(resets[..., columns] != resets_at_edge, float("-inf"))
    scores.add_(row.to(scores.dtype)[..., None]).add_(column.to(scores.dtype)[..., None, :])


def add_gradient_(d_scores: torch.Tensor, grad: Decay, i0: int, i1: int, lo: int, *, causal: bool) -> None:
    """Add what the gradient of a block of scores says about the potentials to ``grad.past`` and ``grad.future``."""
    hi = lo + d_scores.shape[-1]
    if causal:
        # rows sum to zero but for rounding, and just that has to stay: it cancels that of the columns later on
        grad.past[..., i0:i1] += d_scores.sum(-1, dtype=torch.float64)
        grad.past[..., lo:hi] -= d_scores.sum(-2, dtype=torch.float64)
        return
    before = d_scores[..., : i1 - lo].tril(i0 - lo - 1)
    grad.past[..., i0:i1] += before.sum(-1, dtype=torch.float64)
    grad.past[..., lo:i1] -= before.sum(-2, dtype=torch.float64)
    after = d_scores[..., i0 - lo :].triu(1)
    grad.future[..., i0:i1] += after.sum(-1, dtype=torch.float64)
    grad.future[..., i0:hi] -= after.sum(-2, dtype=torch.float64)
