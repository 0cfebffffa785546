"""Three kernels, of which every linear recurrence and each of its gradients is made.

``states_kernel`` passes states from chunk to chunk, ``mix_kernel`` mixes the tokens of a chunk with each other and with
the state, ``gate_kernel`` finds what flows through each gate. The gradients of queries, keys and values are linear
recurrences with other arguments: some run the other way, and in two of them a per-channel gate belongs to the channels
of the values (``GATE="value"``) instead of those that are summed over (``GATE="key"``).

Sums of gates are built outwards from the borders of chunks and only ever passed to ``exp``, so -inf needs no care.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_block(x, t, c, length, width: tl.constexpr, wide: tl.constexpr):
    """``x[t, c]`` as ``[T, C]`` in ``wide``, zero outside."""
    inside = (t < length)[:, None] & (c < width)[None, :]
    return tl.load(x + t[:, None] * width + c[None, :], mask=inside, other=0.0).to(wide)


@triton.jit
def load_tokens(x, t, length, wide: tl.constexpr):
    """``x[t]`` in ``wide``, zero outside."""
    return tl.load(x + t, mask=t < length, other=0.0).to(wide)


@triton.jit
def border_sums(gate, i, first, c, length, width: tl.constexpr, wide: tl.constexpr, START: tl.constexpr):
    """Log decay between tokens ``first + i`` of a chunk and its start (own gate included) or its end, ``[T, C]``."""
    if START:
        sums = tl.cumsum(load_block(gate, first + i, c, length, width, wide), 0)
    else:
        # the gate after a token; the last of the chunk has none before the end
        after = tl.where(i < tl.max(i, 0), first + i + 1, length)
        sums = tl.cumsum(load_block(gate, after, c, length, width, wide), 0, reverse=True)
    return sums


@triton.jit
def token_sums(gate, i, first, length, wide: tl.constexpr, START: tl.constexpr):
    """The same for one gate a token, ``[T, 1]``."""
    if START:
        sums = tl.cumsum(load_tokens(gate, first + i, length, wide), 0)
    else:
        after = tl.where(i < tl.max(i, 0), first + i + 1, length)
        sums = tl.cumsum(load_tokens(gate, after, length, wide), 0, reverse=True)
    return sums[:, None]


@triton.jit
def pair_decay(gate, i, first, length, wide: tl.constexpr, REVERSE: tl.constexpr):
    """Decay between tokens ``i`` (rows) and ``j`` (columns) of a chunk, one gate a token, ``[T, T]``."""
    g = load_tokens(gate, first + i, length, wide)
    if REVERSE:
        sums = tl.cumsum(tl.where(i[:, None] < i[None, :], g[None, :], 0.0), 1)
    else:
        sums = tl.cumsum(tl.where(i[:, None] > i[None, :], g[:, None], 0.0), 0)
    return tl.exp(sums)


@triton.jit
def channel_decay(gate, i, first, c, length, width: tl.constexpr, wide: tl.constexpr, REVERSE: tl.constexpr):
    """The same for one gate a channel, ``[T, T, C]``."""
    g = load_block(gate, first + i, c, length, width, wide)
    if REVERSE:
        sums = tl.cumsum(tl.where((i[:, None] < i[None, :])[:, :, None], g[None, :, :], 0.0), 1)
    else:
        sums = tl.cumsum(tl.where((i[:, None] > i[None, :])[:, :, None], g[:, None, :], 0.0), 0)
    return tl.exp(sums)


@triton.jit
def products(a, b, s, t, length, R: tl.constexpr, BR: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
             wide: tl.constexpr):  # fmt: skip
    """``a[s] . b[t]``, ``[S, T]``."""
    scores = tl.zeros([C, C], wide)
    for r in range(0, R, BR):
        c = r + tl.arange(0, BR)
        row, col = load_block(a, s, c, length, R, wide), load_block(b, t, c, length, R, wide)
        scores += tl.dot(row, tl.trans(col), input_precision=PRECISION, out_dtype=wide)
    return scores


@triton.jit
def decayed_products(
    a, b, gate, i, first, length,
    R: tl.constexpr, BR: tl.constexpr, C: tl.constexpr, GATE: tl.constexpr, REVERSE: tl.constexpr,
    PRECISION: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """``a_i . decay_ij . b_j`` of the tokens of a chunk; bare products if the gate is none of ``R``'s channels."""
    if GATE == "key":
        scores = tl.zeros([C, C], wide)
        for r in range(0, R, BR):
            c = r + tl.arange(0, BR)
            row = load_block(a, first + i, c, length, R, wide)
            col = load_block(b, first + i, c, length, R, wide)
            decay = channel_decay(gate, i, first, c, length, R, wide, REVERSE)
            scores += tl.sum(row[:, None, :] * decay * col[None, :, :], 2)
    else:
        scores = products(a, b, first + i, first + i, length, R, BR, C, PRECISION, wide)
        if GATE == "head":
            scores *= pair_decay(gate, i, first, length, wide, REVERSE)
    return scores


@triton.jit
def seen(i, REVERSE: tl.constexpr, STRICT: tl.constexpr):
    """Which tokens ``j`` (columns) a token ``i`` reads from."""
    if REVERSE:
        mask = (i[:, None] < i[None, :]) if STRICT else (i[:, None] <= i[None, :])
    else:
        mask = (i[:, None] > i[None, :]) if STRICT else (i[:, None] >= i[None, :])
    return mask


@triton.jit(do_not_specialize=["length", "chunks"])
def states_kernel(
    keys, values, gate, start, states, length, chunks,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    GATE: tl.constexpr, REVERSE: tl.constexpr, PRECISION: tl.constexpr,
    wide: tl.constexpr,
):  # fmt: skip
    """States ``[chunks + 1, K, V]`` at the borders of chunks: slot 0 before the first token, the last after the last.

    Programs ``(sequences, K / BK, V / BV)``.
    """
    sequence, i = tl.program_id(0).to(tl.int64), tl.arange(0, C)
    key, value = tl.program_id(1) * BK + tl.arange(0, BK), tl.program_id(2) * BV + tl.arange(0, BV)
    keys, values = keys + sequence * length * K, values + sequence * length * V
    if GATE == "head":
        gate += sequence * length
    elif GATE == "key":
        gate += sequence * length * K
    cell = key[:, None] * V + value[None, :]
    inside = (key < K)[:, None] & (value < V)[None, :]
    state = tl.load(start + sequence * K * V + cell, mask=inside, other=0.0).to(wide)
    states += sequence * (chunks + 1) * K * V
    for step in range(chunks):
        chunk = chunks - 1 - step if REVERSE else step
        slot = (chunk + 1 if REVERSE else chunk).to(tl.int64)
        tl.store(states + slot * K * V + cell, state, mask=inside)
        first = chunk * C
        k = load_block(keys, first + i, key, length, K, wide)
        v = load_block(values, first + i, value, length, V, wide)
        if GATE == "head":
            k *= tl.exp(token_sums(gate, i, first, length, wide, REVERSE))
            state *= tl.exp(tl.sum(load_tokens(gate, first + i, length, wide), 0))
        elif GATE == "key":
            k *= tl.exp(border_sums(gate, i, first, key, length, K, wide, REVERSE))
            state *= tl.exp(tl.sum(load_block(gate, first + i, key, length, K, wide), 0))[:, None]
        state += tl.dot(tl.trans(k), v, input_precision=PRECISION, out_dtype=wide)
    last = states if REVERSE else states + chunks.to(tl.int64) * K * V
    tl.store(last + cell, state, mask=inside)


@triton.jit(do_not_specialize=["length", "chunks"])
def mix_kernel(
    rows, cols, values, gate, states, out, length, chunks,
    R: tl.constexpr, X: tl.constexpr, BR: tl.constexpr, BX: tl.constexpr, C: tl.constexpr,
    GATE: tl.constexpr, REVERSE: tl.constexpr, STRICT: tl.constexpr, TRANSPOSED: tl.constexpr, PRECISION: tl.constexpr,
    wide: tl.constexpr,
):  # fmt: skip
    """``out_i = sum_j (row_i . decay_ij . col_j) value_j`` over the tokens of a chunk, plus ``row_i`` on its state.

    Programs ``(chunks, sequences, X / BX)``. States are ``[R, X]``, or ``[X, R]`` if ``TRANSPOSED``; None are zero.
    """
    chunk, sequence, i = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.arange(0, C)
    x, first = tl.program_id(2) * BX + tl.arange(0, BX), chunk * C
    rows, cols = rows + sequence * length * R, cols + sequence * length * R
    values, out = values + sequence * length * X, out + sequence * length * X
    if GATE == "head":
        gate += sequence * length
    elif GATE == "key":
        gate += sequence * length * R
    elif GATE == "value":
        gate += sequence * length * X

    mixed = tl.zeros([C, BX], wide)
    if states is not None:
        states += (sequence * (chunks + 1) + (chunk + 1 if REVERSE else chunk)) * R * X
        for r in range(0, R, BR):
            c = r + tl.arange(0, BR)
            row = load_block(rows, first + i, c, length, R, wide)
            if GATE == "key":
                row *= tl.exp(border_sums(gate, i, first, c, length, R, wide, not REVERSE))
            cell = (x[None, :] * R + c[:, None]) if TRANSPOSED else (c[:, None] * X + x[None, :])
            state = tl.load(states + cell, mask=(c < R)[:, None] & (x < X)[None, :], other=0.0)
            mixed += tl.dot(row, state, input_precision=PRECISION, out_dtype=wide)
        if GATE == "value":
            mixed *= tl.exp(border_sums(gate, i, first, x, length, X, wide, not REVERSE))
        elif GATE == "head":
            mixed *= tl.exp(token_sums(gate, i, first, length, wide, not REVERSE))

    scores = decayed_products(rows, cols, gate, i, first, length, R, BR, C, GATE, REVERSE, PRECISION, wide)
    scores = tl.where(seen(i, REVERSE, STRICT), scores, 0.0)
    if GATE == "value":
        value = load_block(values, first + i, x, length, X, wide)
        decay = channel_decay(gate, i, first, x, length, X, wide, REVERSE)
        mixed += tl.sum(scores[:, :, None] * decay * value[None, :, :], 1)
    else:
        value = load_block(values, first + i, x, length, X, wide)
        mixed += tl.dot(scores, value, input_precision=PRECISION, out_dtype=wide)
    inside = (first + i < length)[:, None] & (x < X)[None, :]
    tl.store(out + (first + i)[:, None] * X + x[None, :], mixed.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["length", "chunks"])
def gate_kernel(
    queries, keys, values, gate, states, d_out, d_states, takers, d_taken, d_gate, length, chunks,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    GATE: tl.constexpr, PRECISION: tl.constexpr,
    wide: tl.constexpr,
):  # fmt: skip
    """Gradient of a gate: of all pairs of a token before it with one at it or later, what they contribute to the loss.

    Programs ``(chunks, sequences, K / BK)``, or one for all channels if they share the gate. Every pair is added where
    it counts; no sum is the difference of larger ones. So what ``takers`` take off the state again (None: nothing) is
    subtracted pair by pair.
    """
    chunk, sequence, i = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.arange(0, C)
    first = chunk * C
    queries, keys = queries + sequence * length * K, keys + sequence * length * K
    values, d_out = values + sequence * length * V, d_out + sequence * length * V
    if takers is not None:
        takers, d_taken = takers + sequence * length * K, d_taken + sequence * length * V
    before = states + (sequence * (chunks + 1) + chunk) * K * V
    after = d_states + (sequence * (chunks + 1) + chunk + 1) * K * V
    # [i, t]: token i comes at gate t or after it; its pair is the token before t
    later, t = i[:, None] >= i[None, :], first + i
    previous = tl.where(i > 0, t - 1, length)
    pairs = products(d_out, values, t, previous, length, V, BV, C, PRECISION, wide)
    if GATE == "head":
        gate += sequence * length
        g = load_tokens(gate, t, length, wide)
        pairs *= products(queries, keys, t, previous, length, K, BK, C, PRECISION, wide)
        if takers is not None:
            taken = products(d_taken, values, t, previous, length, V, BV, C, PRECISION, wide)
            pairs -= taken * products(takers, keys, t, previous, length, K, BK, C, PRECISION, wide)
        pairs *= tl.exp(tl.cumsum(tl.where(later, g[:, None], 0.0), 0))
        begun = tl.cumsum(tl.where(later, pairs, 0.0), 1)  # of row i, the pairs that begin before t
        reads, writes, through = tl.zeros([C], wide), tl.zeros([C], wide), tl.zeros([1], wide)
        for r in range(0, K, BK):
            c = r + tl.arange(0, BK)
            read, written, kept = border_flows(
                queries, values, d_out, before, after, takers, d_taken, c, t, length, K, V, BK, BV, C, PRECISION, wide
            )
            reads += tl.sum(read, 1)
            writes += tl.sum(written * load_block(keys, t, c, length, K, wide), 1)
            through += tl.sum(kept, 0)
        reads *= tl.exp(tl.sum(token_sums(gate, i, first, length, wide, True), 1))
        writes *= tl.exp(tl.sum(token_sums(gate, i, first, length, wide, False), 1))
        flow = tl.sum(tl.where(later, begun + reads[:, None], writes[:, None]), 0) + through * tl.exp(tl.sum(g, 0))
        tl.store(d_gate + sequence * length + t, flow, mask=t < length)
    else:
        gate += sequence * length * K
        c = tl.program_id(2) * BK + tl.arange(0, BK)
        q, k = load_block(queries, t, c, length, K, wide), load_block(keys, previous, c, length, K, wide)
        g = load_block(gate, t, c, length, K, wide)
        later = later[:, :, None]
        flow = pairs[:, :, None] * q[:, None, :]
        if takers is not None:
            taken = products(d_taken, values, t, previous, length, V, BV, C, PRECISION, wide)
            flow -= taken[:, :, None] * load_block(takers, t, c, length, K, wide)[:, None, :]
        flow *= k[None, :, :]
        flow *= tl.exp(tl.cumsum(tl.where(later, g[:, None, :], 0.0), 0))
        begun = tl.cumsum(tl.where(later, flow, 0.0), 1)
        read, written, through = border_flows(
            queries, values, d_out, before, after, takers, d_taken, c, t, length, K, V, BK, BV, C, PRECISION, wide
        )
        read *= tl.exp(border_sums(gate, i, first, c, length, K, wide, True))
        written *= load_block(keys, t, c, length, K, wide)
        written *= tl.exp(border_sums(gate, i, first, c, length, K, wide, False))
        flow = tl.sum(tl.where(later, begun + read[:, None, :], written[:, None, :]), 0)
        flow += (through * tl.exp(tl.sum(g, 0)))[None, :]
        inside = (t < length)[:, None] & (c < K)[None, :]
        tl.store(d_gate + sequence * length * K + t[:, None] * K + c[None, :], flow, mask=inside)


@triton.jit
def border_flows(
    queries, values, d_out, before, after, takers, d_taken, c, t, length,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr,
    PRECISION: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """What each token reads from the state before the chunk, writes to that after it (``[C, BK]``), and what passes.

    Reads are times the queries; what is written is not yet times the keys.
    """
    read, written, kept = tl.zeros([C, BK], wide), tl.zeros([C, BK], wide), tl.zeros([BK], wide)
    taken = tl.zeros([C, BK], wide)
    for r in range(0, V, BV):
        v = r + tl.arange(0, BV)
        cell, inside = c[:, None] * V + v[None, :], (c < K)[:, None] & (v < V)[None, :]
        entering = tl.load(before + cell, mask=inside, other=0.0)
        row = load_block(d_out, t, v, length, V, wide)
        read += tl.dot(row, tl.trans(entering), input_precision=PRECISION, out_dtype=wide)
        if takers is not None:
            row = load_block(d_taken, t, v, length, V, wide)
            taken += tl.dot(row, tl.trans(entering), input_precision=PRECISION, out_dtype=wide)
        value, leaving = load_block(values, t, v, length, V, wide), tl.load(after + cell, mask=inside, other=0.0)
        written += tl.dot(value, tl.trans(leaving), input_precision=PRECISION, out_dtype=wide)
        kept += tl.sum(entering * leaving, 1)
    read *= load_block(queries, t, c, length, K, wide)
    if takers is not None:
        read -= taken * load_block(takers, t, c, length, K, wide)
    return read, written, kept
