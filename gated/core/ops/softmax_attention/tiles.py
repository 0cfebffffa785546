"""What the kernels know of one tile of the attention matrix, ``M`` queries by ``N`` keys: its scores and weights.

Forward and backward make a score with the same functions. So what the gradient of a query and that of a key say about
it is one number, and the gates' gradient, a difference of sums over either, keeps its digits.
"""

# mypy: ignore-errors
# the bodies of kernels are Triton, not Python

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_rows(x, i, length, WIDTH: tl.constexpr, BLOCK: tl.constexpr, wide: tl.constexpr):
    """``x[i]`` of ``[length, WIDTH]`` as ``[M, BLOCK]`` in ``wide``, zero outside."""
    c = tl.arange(0, BLOCK)
    inside = (i < length)[:, None] & (c < WIDTH)[None, :]
    return tl.load(x + i[:, None] * WIDTH + c[None, :], mask=inside, other=0.0).to(wide)


@triton.jit
def store_rows(x, values, i, length, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Write ``values [M, BLOCK]`` to the rows ``i`` of ``x [length, WIDTH]``."""
    c = tl.arange(0, BLOCK)
    inside = (i < length)[:, None] & (c < WIDTH)[None, :]
    tl.store(x + i[:, None] * WIDTH + c[None, :], values.to(x.dtype.element_ty), mask=inside)


@triton.jit
def load_bounds(lower, upper, item, i, length, most):
    """``lower[item, i]`` and ``upper[item, i]``, 0 and ``most`` where there is no such tensor.

    Rows past the end repeat the last, so that they neither widen a range nor need a mask.
    """
    at = item.to(tl.int64) * length + tl.minimum(i, length - 1)
    low, high = tl.zeros_like(i), tl.zeros_like(i) + most
    if lower is not None:
        low = tl.load(lower + at)
    if upper is not None:
        high = tl.load(upper + at)
    return low, high


@triton.jit
def _table(x, i, j):
    """``x_i - x_j``, ``[M, N]``."""
    return tl.load(x + i)[:, None] - tl.load(x + j)[None, :]


@triton.jit
def tile_scores(
    q, k, past, past_low, past_resets, future, future_low, future_resets, key_mask, head, item, first, stop, i0, j0,
    keys, scale,
    M: tl.constexpr, N: tl.constexpr, SIGNED: tl.constexpr, PRECISION: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """Scores ``[M, N]`` of queries ``i0...`` and keys ``j0...``, -inf where nothing is seen, and their signs.

    ``q [M, D]``, ``k [N, D]``, ``first [M]`` and ``stop [M]`` (the keys that each query may see) are loaded; the
    potentials and resets of the gates ``[heads, keys]`` and ``key_mask [items, keys]`` are pointers, or None.
    """
    i, j = i0 + tl.arange(0, M), j0 + tl.arange(0, N)
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=wide) * scale
    sign = scores
    if SIGNED:
        sign = tl.where(scores > 0, 1.0, tl.where(scores < 0, -1.0, 0.0)).to(wide)
        scores = tl.abs(scores)
    if past is not None:
        # of two large potentials that are close the high parts differ without rounding; what lies past the end is
        # hidden, so any number will do there
        at_i, at_j, start = tl.minimum(i, keys - 1), tl.minimum(j, keys - 1), head.to(tl.int64) * keys
        bias = _table(past + start, at_i, at_j) + _table(past_low + start, at_i, at_j)
        apart = _table(past_resets + start, at_i, at_j)
        if future is not None:
            before = j[None, :] <= i[:, None]
            after = _table(future + start, at_i, at_j) + _table(future_low + start, at_i, at_j)
            bias = tl.where(before, bias, after)
            apart = tl.where(before, apart, _table(future_resets + start, at_i, at_j))
        scores = tl.where(apart == 0, scores + bias, float("-inf"))
    # most tiles are seen as a whole
    if (tl.max(first, 0) > j0) | (tl.min(stop, 0) < j0 + N):
        scores = tl.where((j[None, :] >= first[:, None]) & (j[None, :] < stop[:, None]), scores, float("-inf"))
    if key_mask is not None:
        real = tl.load(key_mask + item.to(tl.int64) * keys + j, mask=j < keys, other=0)
        scores = tl.where(real[None, :] != 0, scores, float("-inf"))
    return scores, sign


@triton.jit
def clipped(softmax, seen, CLIP: tl.constexpr):
    """The clipped weights ``[M, N]`` of rows that see ``seen`` keys, and their slope over the softmax."""
    gamma = (-CLIP / tl.maximum(seen, 1.0))[:, None]
    line = (1.0 - gamma) * softmax + gamma
    return tl.maximum(line, 0.0), tl.where(line >= 0.0, 1.0 - gamma, 0.0)


@triton.jit
def exact_sum(x, axis: tl.constexpr):
    """The sum over an axis of a tile in double precision, by few operations in that precision.

    What adding a much larger number and taking it away leaves of each has so few digits that the sum is exact; what it
    cuts off is too small for its rounding to matter.
    """
    large = 3.0 * x.shape[axis] * tl.max(tl.max(tl.abs(x), 0), 0)
    high = (x + large) - large
    return tl.sum(high, axis).to(tl.float64) + tl.sum(x - high, axis).to(tl.float64)
