"""Three kernels: the output; the gradient of queries; the gradients of keys and values. Unseen tiles are skipped.

Tensors are contiguous, ``[B, H, T, D]`` and so on. ``peak`` is a row's largest score and ``share`` one over its sum of
exponentials, 0 where a row sees nothing (the log of the sum would round where scores are large). The potentials of the
gates need the row and column sums of the gradient of the scores, apart for the past and the future and in double
precision.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gated.core.ops.softmax_attention.tiles import clipped, exact_sum, load_bounds, load_rows, store_rows, tile_scores

_INTS = ["queries", "keys", "heads", "group", "limits"]


@triton.jit(do_not_specialize=_INTS)
def forward_kernel(
    q, k, v, past, past_low, past_resets, future, future_low, future_resets, key_mask, begin, end, out,
    peak, share, seen, queries, keys, heads, group, limits, scale,
    D: tl.constexpr, E: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    CLIP: tl.constexpr, SIGNED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Mix the values for ``M`` queries; a clip needs the finished softmax, hence a second pass over the keys."""
    wide: tl.constexpr = peak.dtype.element_ty
    head, i0 = tl.program_id(0) // tl.cdiv(queries, M), tl.program_id(0) % tl.cdiv(queries, M) * M
    item, row, source = head // heads, head.to(tl.int64) * queries, (head // group).to(tl.int64) * keys
    i = i0 + tl.arange(0, M)
    n = tl.arange(0, N)
    first, stop = load_bounds(begin, end, item * limits, i, queries, keys)
    lo, hi = tl.min(first, 0) // N * N, tl.max(stop, 0)
    q_tile = load_rows(q + row * D, i, queries, D, BD, wide)

    largest = tl.full([M], float("-inf"), wide)
    total = tl.zeros([M], wide)
    count = tl.zeros([M], wide)
    mixed = tl.zeros([M, BE], wide)
    for j0 in range(lo, hi, N):
        k_tile = load_rows(k + source * D, j0 + n, keys, D, BD, wide)
        scores, sign = tile_scores(
            q_tile, k_tile, past, past_low, past_resets, future, future_low, future_resets, key_mask, head, item,
            first, stop, i0, j0, keys, scale, M, N, SIGNED, PRECISION, wide,
        )  # fmt: skip
        larger = tl.maximum(largest, tl.max(scores, 1))
        # a row that has seen nothing yet would give -inf - -inf
        finite = tl.where(larger == float("-inf"), 0.0, larger)
        weights, fade = tl.exp(scores - finite[:, None]), tl.exp(largest - finite)
        total = total * fade + tl.sum(weights, 1)
        largest = larger
        if CLIP is None:
            if SIGNED:
                weights *= sign
            v_tile = load_rows(v + source * E, j0 + n, keys, E, BE, wide)
            mixed = mixed * fade[:, None] + tl.dot(weights, v_tile, input_precision=PRECISION, out_dtype=wide)
        else:
            count += tl.sum(tl.where(scores > float("-inf"), 1.0, 0.0).to(wide), 1)
    some = tl.where(total > 0, total, 1.0)
    largest = tl.where(total > 0, largest, 0.0)
    inverse = tl.where(total > 0, 1.0 / some, 0.0)
    if CLIP is None:
        mixed /= some[:, None]
    else:
        for j0 in range(lo, hi, N):
            k_tile = load_rows(k + source * D, j0 + n, keys, D, BD, wide)
            scores, sign = tile_scores(
                q_tile, k_tile, past, past_low, past_resets, future, future_low, future_resets, key_mask, head, item,
            first, stop, i0, j0, keys, scale, M, N, SIGNED, PRECISION, wide,
            )  # fmt: skip
            weights, _ = clipped(tl.exp(scores - largest[:, None]) * inverse[:, None], count, CLIP)
            v_tile = load_rows(v + source * E, j0 + n, keys, E, BE, wide)
            mixed += tl.dot(weights, v_tile, input_precision=PRECISION, out_dtype=wide)
        tl.store(seen + row + i, count, mask=i < queries)
    store_rows(out + row * E, mixed, i, queries, E, BE)
    tl.store(peak + row + i, largest, mask=i < queries)
    tl.store(share + row + i, inverse, mask=i < queries)


@triton.jit
def _tile_gradient(
    scores, sign, d_out, v, peak, share, seen, delta,
    CLIP: tl.constexpr, SIGNED: tl.constexpr, PRECISION: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """The weights ``[M, N]`` and the gradient of the scores before their signs, not yet centred if ``delta`` is 0."""
    softmax = tl.exp(scores - peak[:, None]) * share[:, None]
    weights = softmax
    d_weights = tl.dot(d_out, tl.trans(v), input_precision=PRECISION, out_dtype=wide)
    if SIGNED:
        weights *= sign
        d_weights *= sign
    if CLIP is not None:
        weights, slope = clipped(softmax, seen, CLIP)
        d_weights *= slope
    return weights, softmax * (d_weights - delta[:, None])


@triton.jit(do_not_specialize=_INTS)
def d_queries_kernel(
    q, k, v, past, past_low, past_resets, future, future_low, future_resets, key_mask, begin, end, peak, share, seen,
    d_out, d_q, delta, row_past, row_future,
    queries, keys, heads, group, limits, scale,
    D: tl.constexpr, E: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    CLIP: tl.constexpr, SIGNED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of ``M`` queries and, for the next kernel, ``delta``: softmax times its gradient, summed."""
    wide: tl.constexpr = peak.dtype.element_ty
    head, i0 = tl.program_id(0) // tl.cdiv(queries, M), tl.program_id(0) % tl.cdiv(queries, M) * M
    item, row, source = head // heads, head.to(tl.int64) * queries, (head // group).to(tl.int64) * keys
    i = i0 + tl.arange(0, M)
    n = tl.arange(0, N)
    first, stop = load_bounds(begin, end, item * limits, i, queries, keys)
    lo, hi = tl.min(first, 0) // N * N, tl.max(stop, 0)
    q_tile = load_rows(q + row * D, i, queries, D, BD, wide)
    d_tile = load_rows(d_out + row * E, i, queries, E, BE, wide)
    largest = tl.load(peak + row + i, mask=i < queries, other=0.0)
    inverse = tl.load(share + row + i, mask=i < queries, other=0.0)
    nothing = tl.zeros([M], wide)
    count, centre = nothing, nothing
    if CLIP is not None:
        count = tl.load(seen + row + i, mask=i < queries, other=1.0)
    # a pass of its own: d_out . out is the same only nearly (and not at all with a clip), and where a row sees one key
    # that rounding would be all of its gradient
    for j0 in range(lo, hi, N):
        k_tile = load_rows(k + source * D, j0 + n, keys, D, BD, wide)
        v_tile = load_rows(v + source * E, j0 + n, keys, E, BE, wide)
        scores, sign = tile_scores(
            q_tile, k_tile, past, past_low, past_resets, future, future_low, future_resets, key_mask, head, item,
            first, stop, i0, j0, keys, scale, M, N, SIGNED, PRECISION, wide,
        )  # fmt: skip
        _, d_scores = _tile_gradient(
            scores, sign, d_tile, v_tile, largest, inverse, count, nothing, CLIP, SIGNED, PRECISION, wide
        )
        centre += tl.sum(d_scores, 1)
    tl.store(delta + row + i, centre, mask=i < queries)

    gradient = tl.zeros([M, BD], wide)
    before = tl.zeros([M], tl.float64)
    after = tl.zeros([M], tl.float64)
    for j0 in range(lo, hi, N):
        k_tile = load_rows(k + source * D, j0 + n, keys, D, BD, wide)
        v_tile = load_rows(v + source * E, j0 + n, keys, E, BE, wide)
        scores, sign = tile_scores(
            q_tile, k_tile, past, past_low, past_resets, future, future_low, future_resets, key_mask, head, item,
            first, stop, i0, j0, keys, scale, M, N, SIGNED, PRECISION, wide,
        )  # fmt: skip
        _, d_scores = _tile_gradient(
            scores, sign, d_tile, v_tile, largest, inverse, count, centre, CLIP, SIGNED, PRECISION, wide
        )
        if past is not None:
            before += exact_sum(tl.where((j0 + n)[None, :] < i[:, None], d_scores, 0.0), 1)
        if future is not None:
            after += exact_sum(tl.where((j0 + n)[None, :] > i[:, None], d_scores, 0.0), 1)
        if SIGNED:
            d_scores *= sign
        gradient += tl.dot(d_scores, k_tile, input_precision=PRECISION, out_dtype=wide)
    store_rows(d_q + row * D, gradient * scale, i, queries, D, BD)
    if past is not None:
        tl.store(row_past + row + i, before, mask=i < queries)
    if future is not None:
        tl.store(row_future + row + i, after, mask=i < queries)


@triton.jit(do_not_specialize=_INTS)
def d_keys_kernel(
    q, k, v, past, past_low, past_resets, future, future_low, future_resets, key_mask, begin, end, peak, share, seen,
    d_out, delta, seen_from, seen_to, d_k, d_v, column_past, column_future,
    queries, keys, heads, group, limits, scale,
    D: tl.constexpr, E: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    CLIP: tl.constexpr, SIGNED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradients of ``N`` keys and values, over all queries of all heads that share them: no program waits."""
    wide: tl.constexpr = peak.dtype.element_ty
    source, j0 = tl.program_id(0) // tl.cdiv(keys, N), tl.program_id(0) % tl.cdiv(keys, N) * N
    item, column = source * group // heads, source.to(tl.int64) * keys
    j = j0 + tl.arange(0, N)
    m = tl.arange(0, M)
    k_tile = load_rows(k + column * D, j, keys, D, BD, wide)
    v_tile = load_rows(v + column * E, j, keys, E, BE, wide)
    lowest, highest = load_bounds(seen_from, seen_to, item * limits, j, keys, queries)
    lo, hi = tl.min(lowest, 0) // M * M, tl.max(highest, 0)
    gradient_k = tl.zeros([N, BD], wide)
    gradient_v = tl.zeros([N, BE], wide)
    for member in range(group):
        head = source * group + member
        row = head.to(tl.int64) * queries
        before = tl.zeros([N], tl.float64)
        after = tl.zeros([N], tl.float64)
        for i0 in range(lo, hi, M):
            i = i0 + m
            first, stop = load_bounds(begin, end, item * limits, i, queries, keys)
            q_tile = load_rows(q + row * D, i, queries, D, BD, wide)
            d_tile = load_rows(d_out + row * E, i, queries, E, BE, wide)
            largest = tl.load(peak + row + i, mask=i < queries, other=0.0)
            inverse = tl.load(share + row + i, mask=i < queries, other=0.0)
            centre = tl.load(delta + row + i, mask=i < queries, other=0.0)
            count = centre
            if CLIP is not None:
                count = tl.load(seen + row + i, mask=i < queries, other=1.0)
            scores, sign = tile_scores(
                q_tile, k_tile, past, past_low, past_resets, future, future_low, future_resets, key_mask, head, item,
            first, stop, i0, j0, keys, scale, M, N, SIGNED, PRECISION, wide,
            )  # fmt: skip
            weights, d_scores = _tile_gradient(
                scores, sign, d_tile, v_tile, largest, inverse, count, centre, CLIP, SIGNED, PRECISION, wide
            )
            gradient_v += tl.dot(tl.trans(weights), d_tile, input_precision=PRECISION, out_dtype=wide)
            distance = i[:, None] - j[None, :]
            if past is not None:
                before += exact_sum(tl.where(distance > 0, d_scores, 0.0), 0)
            if future is not None:
                after += exact_sum(tl.where(distance < 0, d_scores, 0.0), 0)
            if SIGNED:
                d_scores *= sign
            gradient_k += tl.dot(tl.trans(d_scores), q_tile, input_precision=PRECISION, out_dtype=wide)
        if past is not None:
            tl.store(column_past + head.to(tl.int64) * keys + j, before, mask=j < keys)
        if future is not None:
            tl.store(column_future + head.to(tl.int64) * keys + j, after, mask=j < keys)
    store_rows(d_k + column * D, gradient_k * scale, j, keys, D, BD)
    store_rows(d_v + column * E, gradient_v, j, keys, E, BE)
