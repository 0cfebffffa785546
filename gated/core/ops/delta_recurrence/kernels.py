"""The two kernels of the delta rule that no linear recurrence has: small inverses, and changes one after the other."""

from __future__ import annotations

import triton
import triton.language as tl

from gated.core.ops._recurrence_kernels import border_sums, decayed_products, load_block, load_tokens, token_sums


@triton.jit(do_not_specialize=["length", "blocks"])
def inverse_kernel(
    keys, beta, gate, inverses, length, blocks,
    K: tl.constexpr, BK: tl.constexpr, C: tl.constexpr,
    GATE: tl.constexpr, REVERSE: tl.constexpr, PRECISION: tl.constexpr,
    wide: tl.constexpr,
):  # fmt: skip
    """Inverses ``[blocks, C, C]`` of ``1 + L``, ``L_ij = (k_i . decay_ij . k_j) beta_j``, in blocks of tokens.

    ``L`` is zero but for ``j < i``, or ``j > i`` if ``REVERSE``. Programs ``(blocks, sequences)``.
    """
    block, sequence, i = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.arange(0, C)
    first = block * C
    keys += sequence * length * K
    if GATE == "head":
        gate += sequence * length
    elif GATE == "key":
        gate += sequence * length * K
    share = load_tokens(beta + sequence * length, first + i, length, wide)
    system = decayed_products(keys, keys, gate, i, first, length, K, BK, C, GATE, False, PRECISION, wide)
    # the system of the other direction is this one transposed, with beta on the other side
    system *= share[:, None] if REVERSE else share[None, :]
    system = tl.where(i[:, None] > i[None, :], system, 0.0)
    unit = tl.where(i[:, None] == i[None, :], 1.0, 0.0).to(wide)
    inverse = unit
    for n in range(1, C):
        row = tl.sum(tl.where((i == n)[:, None], system, 0.0), 0)
        solved = unit - tl.sum(row[:, None] * inverse, 0)[None, :]
        inverse = tl.where((i == n)[:, None], solved, inverse)
    cell = i[None, :] * C + i[:, None] if REVERSE else i[:, None] * C + i[None, :]
    tl.store(inverses + (sequence * blocks + block) * C * C + cell, inverse)


@triton.jit(do_not_specialize=["length", "chunks"])
def residual_kernel(
    keys, values, beta, gate, inverses, queries, reads, start, residuals, states, length, chunks,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, C: tl.constexpr, CHUNK: tl.constexpr,
    GATE: tl.constexpr, REVERSE: tl.constexpr, PRECISION: tl.constexpr,
    wide: tl.constexpr,
):  # fmt: skip
    """``r_t = v_t - S^T k_t`` with the decayed state ``S`` before it, into which ``beta_t r_t`` is then written.

    ``queries`` and ``reads``, if there are any, are another pair of keys and values that is taken off the state.
    States go out at the borders of chunks of ``CHUNK`` tokens. Programs ``(sequences, V / BV)``.
    """
    sequence, i, key = tl.program_id(0).to(tl.int64), tl.arange(0, C), tl.arange(0, BK)
    value = tl.program_id(1) * BV + tl.arange(0, BV)
    blocks = tl.cdiv(length, C)
    keys, beta, inverses = keys + sequence * length * K, beta + sequence * length, inverses + sequence * blocks * C * C
    values, residuals = values + sequence * length * V, residuals + sequence * length * V
    if GATE == "head":
        gate += sequence * length
    elif GATE == "key":
        gate += sequence * length * K
    cell = key[:, None] * V + value[None, :]
    inside = (key < K)[:, None] & (value < V)[None, :]
    state = tl.load(start + sequence * K * V + cell, mask=inside, other=0.0).to(wide)
    states += sequence * (chunks + 1) * K * V
    for step in range(blocks):
        block = blocks - 1 - step if REVERSE else step
        first, chunk = block * C, block // (CHUNK // C)
        slot = (chunk + 1 if REVERSE else chunk).to(tl.int64)
        border = ((first + C) % CHUNK == 0) | (step == 0) if REVERSE else first % CHUNK == 0
        tl.store(states + slot * K * V + cell, state, mask=inside & border)

        k = load_block(keys, first + i, key, length, K, wide)
        reader = k
        if GATE == "key":
            reader = k * tl.exp(border_sums(gate, i, first, key, length, K, wide, not REVERSE))
        held = tl.dot(reader, state, input_precision=PRECISION, out_dtype=wide)
        if GATE == "head":
            held *= tl.exp(token_sums(gate, i, first, length, wide, not REVERSE))
        right = load_block(values, first + i, value, length, V, wide) - held
        inverse = tl.load(inverses + block * C * C + i[:, None] * C + i[None, :])
        residual = tl.dot(inverse, right, input_precision="ieee", out_dtype=wide)
        at = (first + i)[:, None] * V + value[None, :]
        tl.store(residuals + at, residual, mask=(first + i < length)[:, None] & (value < V)[None, :])

        if GATE == "head":
            k *= tl.exp(token_sums(gate, i, first, length, wide, REVERSE))
            state *= tl.exp(tl.sum(load_tokens(gate, first + i, length, wide), 0))
        elif GATE == "key":
            k *= tl.exp(border_sums(gate, i, first, key, length, K, wide, REVERSE))
            state *= tl.exp(tl.sum(load_block(gate, first + i, key, length, K, wide), 0))[:, None]
        change = residual * load_tokens(beta, first + i, length, wide)[:, None]
        state += tl.dot(tl.trans(k), change, input_precision=PRECISION, out_dtype=wide)
        if queries is not None:
            q = load_block(queries + sequence * length * K, first + i, key, length, K, wide)
            read = load_block(reads + sequence * length * V, first + i, value, length, V, wide)
            if GATE == "head":
                q *= tl.exp(token_sums(gate, i, first, length, wide, REVERSE))
            elif GATE == "key":
                q *= tl.exp(border_sums(gate, i, first, key, length, K, wide, REVERSE))
            state -= tl.dot(tl.trans(q), read, input_precision=PRECISION, out_dtype=wide)
    last = states if REVERSE else states + chunks.to(tl.int64) * K * V
    tl.store(last + cell, state, mask=inside)
