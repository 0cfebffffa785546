"""Two kernels for attention inside groups: the values that tokens get, and the gradients of queries or keys.

In both a block of tokens, the rows, goes over the tokens of its group, the columns. With queries as rows the results
are the output and the gradient of queries. With keys as rows, queries as columns and the gradient of the output in the
place of the values, they are the gradients of values and of keys.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _load(x, t, c, end, WIDTH: tl.constexpr, wide: tl.constexpr):
    """``x[t, c]`` as ``[T, C]`` in ``wide``, zero outside."""
    return tl.load(x + t[:, None] * WIDTH + c[None, :], mask=(t < end)[:, None] & (c < WIDTH)[None, :], other=0.0).to(
        wide
    )


@triton.jit
def _products(
    rows, cols, i, j, end, WIDTH: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr, wide: tl.constexpr
):
    """``row_i . col_j``, zero where one of them does not exist."""
    sums = tl.zeros([i.shape[0], j.shape[0]], wide)
    for first in range(0, WIDTH, BLOCK):
        c = first + tl.arange(0, BLOCK)
        row, col = _load(rows, i, c, end, WIDTH, wide), _load(cols, j, c, end, WIDTH, wide)
        sums += tl.dot(row, tl.trans(col), input_precision=PRECISION, out_dtype=wide)
    return sums


@triton.jit
def _roots(
    rows, cols, i, j, end, group, D: tl.constexpr, BK: tl.constexpr,
    CAUSAL: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """``relu(row_i . col_j / g)``, whose squares are the scores; ``KEYS`` says that the rows are keys."""
    roots = tl.maximum(_products(rows, cols, i, j, end, D, BK, PRECISION, wide) / group, 0.0)
    if CAUSAL:
        seen = (i[:, None] <= j[None, :]) if KEYS else (i[:, None] >= j[None, :])
        roots = tl.where(seen, roots, 0.0)
    return roots


@triton.jit
def _group(length, group, BR: tl.constexpr):
    """The first token of this program's group in memory, that of its rows within the group, and the group's end."""
    blocks = tl.cdiv(tl.minimum(group, length), BR)
    programs = tl.cdiv(length, group) * blocks
    index = tl.program_id(0) % programs
    first = index // blocks * group
    start = (tl.program_id(0) // programs).to(tl.int64) * length + first
    return start, index % blocks * BR, tl.minimum(group, length - first)


@triton.jit
def _columns(row, end, BR: tl.constexpr, CAUSAL: tl.constexpr, KEYS: tl.constexpr):
    """The first column that a block of rows meets, and the one after the last."""
    if CAUSAL and KEYS:
        low, high = row, end
    elif CAUSAL:
        low, high = 0, tl.minimum(row + BR, end)
    else:
        low, high = 0, end
    return low, high


@triton.jit(do_not_specialize=["length", "group"])
def attend_kernel(
    rows, cols, values, out, length, group,
    D: tl.constexpr, V: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    CAUSAL: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """``out_i = sum_j relu(row_i . col_j / g)^2 value_j``, ``[S, T, V]``."""
    start, row, end = _group(length, group, BR)
    i = row + tl.arange(0, BR)
    v = tl.program_id(1) * BV + tl.arange(0, BV)
    rows, cols, values, out = rows + start * D, cols + start * D, values + start * V, out + start * V
    sums = tl.zeros([BR, BV], wide)
    low, high = _columns(row, end, BR, CAUSAL, KEYS)
    for first in range(low, high, BC):
        j = first + tl.arange(0, BC)
        roots = _roots(rows, cols, i, j, end, group, D, BK, CAUSAL, KEYS, PRECISION, wide)
        value = _load(values, j, v, end, V, wide)
        sums += tl.dot(roots * roots, value, input_precision=PRECISION, out_dtype=wide)
    inside = (i < end)[:, None] & (v < V)[None, :]
    tl.store(out + i[:, None] * V + v[None, :], sums, mask=inside)


@triton.jit(do_not_specialize=["length", "group"])
def gradient_kernel(
    rows, cols, row_values, col_values, out, length, group,
    D: tl.constexpr, V: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BD: tl.constexpr, CAUSAL: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """``out_i = 2/g sum_j relu(row_i . col_j / g) (row_value_i . col_value_j) col_j``, ``[S, T, D]``."""
    start, row, end = _group(length, group, BR)
    i = row + tl.arange(0, BR)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    rows, cols, out = rows + start * D, cols + start * D, out + start * D
    row_values, col_values = row_values + start * V, col_values + start * V
    sums = tl.zeros([BR, BD], wide)
    low, high = _columns(row, end, BR, CAUSAL, KEYS)
    for first in range(low, high, BC):
        j = first + tl.arange(0, BC)
        roots = _roots(rows, cols, i, j, end, group, D, BK, CAUSAL, KEYS, PRECISION, wide)
        d_scores = _products(row_values, col_values, i, j, end, V, BV, PRECISION, wide)
        col = _load(cols, j, d, end, D, wide)
        sums += tl.dot(2.0 * roots * d_scores / group, col, input_precision=PRECISION, out_dtype=wide)
    tl.store(out + i[:, None] * D + d[None, :], sums, mask=(i < end)[:, None] & (d < D)[None, :])
