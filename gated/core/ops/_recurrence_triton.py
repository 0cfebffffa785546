"""Linear recurrences by kernels, on ``[S, T, ...]`` tensors of ``S`` sequences, and the gradient of their gates."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from gated.core.ops._recurrence_kernels import gate_kernel, mix_kernel, states_kernel
from gated.core.ops._triton import block, launch, precision

WIDE = {torch.float32: tl.float32, torch.float64: tl.float64}
"""What kernels compute in, by the dtype of states."""

_INNER = 32
"""Channels worked on at a time: three products for one take many registers."""


def chunk_size(gate: torch.Tensor | None) -> int:
    """Tokens in a chunk: 64, or the 16 that a matrix product takes at least where each channel weighs every pair."""
    return 16 if gate is not None and gate.dim() == 3 else 64


def pass_states(
    k: torch.Tensor,
    v: torch.Tensor,
    gate: torch.Tensor | None,
    start: torch.Tensor,
    *,
    reverse: bool = False,
) -> torch.Tensor:
    """States at the borders of chunks, ``[S, chunks + 1, K, V]``, from ``start`` at the first border that is met.

    Args:
        k: ``[S, T, K]``.
        v: ``[S, T, V]``.
        gate: ``[S, T]`` or ``[S, T, K]``, in the dtype of ``start``.
        start: ``[S, K, V]``.
        reverse: run from the last token to the first; a state has passed the gates of all tokens between its border
            and those that wrote it, and of the latter.
    """
    sequences, length, width = k.shape
    size = chunk_size(gate)
    chunks = triton.cdiv(length, size)
    states = start.new_empty(sequences, chunks + 1, *start.shape[1:])
    bk, bv = (block(x, _INNER) for x in (width, v.shape[-1]))
    launch(
        states_kernel,
        (sequences, triton.cdiv(width, bk), triton.cdiv(v.shape[-1], bv)),
        *(k.contiguous(), v.contiguous(), gate, start.contiguous(), states, length, chunks),
        K=width,
        V=v.shape[-1],
        BK=bk,
        BV=bv,
        C=size,
        GATE=side(gate, "key"),
        REVERSE=reverse,
        PRECISION=precision(),
        wide=WIDE[start.dtype],
        num_warps=8 if size == 64 else 4,  # four would spill beside half-precision inputs
    )
    return states


def mix(
    rows: torch.Tensor,
    cols: torch.Tensor,
    values: torch.Tensor,
    gate: torch.Tensor | None,
    states: torch.Tensor | None,
    *,
    gated: str = "key",
    reverse: bool = False,
    strict: bool = False,
    chunk: int | None = None,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """``out_i = sum_{j <= i} row_i . decay_ij . col_j value_j`` with what came before the chunk read from ``states``.

    Args:
        rows: ``[S, T, R]``.
        cols: ``[S, T, R]``.
        values: ``[S, T, X]``.
        gate: ``[S, T]``, or per channel ``[S, T, R]`` (``gated="key"``) or ``[S, T, X]`` (``gated="value"``), or None.
        states: ``[S, chunks + 1, R, X]``, or ``[S, chunks + 1, X, R]`` for ``gated="value"``; None for zeros.
        gated: the side whose channels the gates (and the first axis of the states) belong to.
        reverse: the sum runs over ``j >= i``.
        strict: without ``j = i``.
        chunk: tokens in a chunk, ``chunk_size(gate)`` by default.
        dtype: of the result, fp32 or double by default.

    Returns:
        ``[S, T, X]``.
    """
    sequences, length, width = rows.shape
    kind, size, chunk = side(gate, gated), values.shape[-1], chunk or chunk_size(gate)
    chunks = triton.cdiv(length, chunk)
    wide = torch.promote_types(
        torch.promote_types(rows.dtype, cols.dtype), torch.promote_types(values.dtype, torch.float32)
    )
    out = torch.empty(values.shape, dtype=dtype or wide, device=rows.device)
    # decays of pairs, one a channel, are a cube of 16 tokens, 16 tokens and this many channels
    bx = block(size, 16 if kind == "value" else 64)
    launch(
        mix_kernel,
        (chunks, sequences, triton.cdiv(size, bx)),
        *(rows.contiguous(), cols.contiguous(), values.contiguous(), gate, states, out, length, chunks),
        R=width,
        X=size,
        BR=block(width, 16 if kind == "key" else _INNER),
        BX=bx,
        C=chunk,
        GATE=kind,
        REVERSE=reverse,
        STRICT=strict,
        TRANSPOSED=gated == "value",
        PRECISION=precision(),
        wide=WIDE[wide],
    )
    return out


def side(gate: torch.Tensor | None, channels: str) -> str:
    """What the kernels call the kind of a gate whose channels, if it has any, belong to ``channels``."""
    return "none" if gate is None else "head" if gate.dim() == 2 else channels


def gate_gradient(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gate: torch.Tensor,
    states: torch.Tensor,
    d_out: torch.Tensor,
    d_states: torch.Tensor,
    takers: torch.Tensor | None = None,
    d_taken: torch.Tensor | None = None,
) -> torch.Tensor:
    """The gradient of a gate, in its shape.

    Args:
        q: ``[S, T, K]``.
        k: ``[S, T, K]``.
        v: ``[S, T, V]``.
        gate: ``[S, T]`` or ``[S, T, K]``.
        states: of ``pass_states(k, v, gate, ...)``.
        d_out: ``[S, T, V]``.
        d_states: gradients of the states at the borders of chunks, ``pass_states(q, d_out, gate, reverse=True)`` where
            nothing is taken off the state.
        takers: ``[S, T, K]``, keys that take values off the state that they meet; None if there are none.
        d_taken: ``[S, T, V]``, the gradient of what they take, with the sign of something added.
    """
    sequences, length, width = q.shape
    chunks, kind = states.shape[1] - 1, side(gate, "key")
    d_gate = torch.empty_like(gate)
    bk = block(width, 16 if kind == "key" else 32)
    launch(
        gate_kernel,
        (chunks, sequences, triton.cdiv(width, bk) if kind == "key" else 1),
        *(q.contiguous(), k.contiguous(), v.contiguous(), gate, states, d_out.contiguous(), d_states),
        *(x if x is None else x.contiguous() for x in (takers, d_taken)),
        *(d_gate, length, chunks),
        K=width,
        V=v.shape[-1],
        BK=bk,
        BV=block(v.shape[-1], 32),
        C=chunk_size(gate),
        GATE=kind,
        PRECISION=precision(),
        wide=WIDE[states.dtype],
        num_warps=8 if kind == "head" else 4,
    )
    return d_gate
