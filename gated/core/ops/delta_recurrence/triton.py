"""The form for GPUs: once the changes of the state are known, the delta rule is a linear recurrence that writes them.

With ``r_t = v_t - S^T k_t`` the change is ``beta_t r_t``, and ``r`` solves a triangular system, block after block. The
gradient of ``r`` solves the transposed system, which is the same recurrence run the other way.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from triton import cdiv

from gated.core.ops._recurrence import Inputs
from gated.core.ops._recurrence_triton import WIDE, chunk_size, gate_gradient, mix, side
from gated.core.ops._triton import block, launch, precision
from gated.core.ops.delta_recurrence.kernels import inverse_kernel, residual_kernel

_BLOCK = 16


def triton(
    inputs: Inputs, state: torch.Tensor | None, scale: float, *, decay_bound: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`gated.core.ops.delta_recurrence`; per-channel gates are exact whatever their bound."""
    state = inputs.start(state)
    q, k, v, gate, beta = (None if x is None else x.flatten(0, 1) for x in inputs.scaled(scale))
    output, final, _, _ = forward(q, k, v, beta, gate, state.flatten(0, 1))
    return output.unflatten(0, state.shape[:2]), final.unflatten(0, state.shape[:2])


def residuals(
    k: torch.Tensor,
    v: torch.Tensor,
    beta: torch.Tensor,
    gate: torch.Tensor | None,
    start: torch.Tensor,
    *,
    reverse: bool = False,
    less: tuple[torch.Tensor, torch.Tensor] | tuple[None, None] = (None, None),
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the state lacks of each value, ``[S, T, V]``, and the states at the borders of chunks.

    Args:
        k: ``[S, T, K]``.
        v: ``[S, T, V]``.
        beta: ``[S, T]``.
        gate: ``[S, T]``, ``[S, T, K]`` or None.
        start: ``[S, K, V]``.
        reverse: run from the last token to the first.
        less: keys and values ``[S, T, K]``, ``[S, T, V]`` that are taken off the state.
    """
    sequences, length, width = k.shape
    blocks, chunk = cdiv(length, _BLOCK), chunk_size(gate)
    chunks, kind, bk = cdiv(length, chunk), side(gate, "key"), block(width, 2 * width)
    k, v, beta = k.contiguous(), v.contiguous(), beta.contiguous()
    inverses = start.new_empty(sequences, blocks, _BLOCK, _BLOCK)
    launch(
        inverse_kernel,
        (blocks, sequences),
        *(k, beta, gate, inverses, length, blocks),
        K=width,
        BK=block(width, 16 if kind == "key" else 64),
        C=_BLOCK,
        GATE=kind,
        REVERSE=reverse,
        PRECISION=precision(),
        wide=WIDE[start.dtype],
    )
    residual = start.new_empty(v.shape)
    states = start.new_empty(sequences, chunks + 1, *start.shape[1:])
    bv = block(v.shape[-1], max(16, 4096 // bk))  # the state of a program stays in registers
    launch(
        residual_kernel,
        (sequences, cdiv(v.shape[-1], bv)),
        *(
            k,
            v,
            beta,
            gate,
            inverses,
            *(x if x is None else x.contiguous() for x in less),
            start.contiguous(),
            residual,
            states,
            length,
            chunks,
        ),
        K=width,
        V=v.shape[-1],
        BK=bk,
        BV=bv,
        C=_BLOCK,
        CHUNK=chunk,
        GATE=kind,
        REVERSE=reverse,
        PRECISION=precision(),
        wide=WIDE[start.dtype],
    )
    return residual, states


@torch.library.custom_op("gated::delta_recurrence_triton", mutates_args=())
def forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: torch.Tensor,
    gate: torch.Tensor | None,
    start: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the output ``[S, T, V]``, the final state, the residuals and the states at the borders of chunks."""
    gate = None if gate is None else gate.contiguous()
    residual, states = residuals(k, v, beta, gate, start)
    out = mix(q, k, residual * beta.unsqueeze(-1), gate, states, dtype=v.dtype)
    return out, states[:, -1].clone(), residual, states


@torch.library.custom_op("gated::delta_recurrence_triton_backward", mutates_args=())
def backward(
    q: torch.Tensor,
    k: torch.Tensor,
    beta: torch.Tensor,
    gate: torch.Tensor | None,
    residual: torch.Tensor,
    states: torch.Tensor,
    d_out: torch.Tensor,
    d_final: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of ``q, k, v, beta, gate`` (empty without one) and of the initial state.

    Going back, queries write ``d_out`` into the gradient of the state, and keys take ``beta d_r`` off it again.
    """
    gate = None if gate is None else gate.contiguous()
    share = beta.unsqueeze(-1)
    change = residual * share
    alike = partial(mix, gate=gate)
    # queries write d_out into d_S; with the sign turned, that is the state of a delta rule which they take from
    d_change = alike(k, q, d_out, states=None, reverse=True, chunk=_BLOCK)
    d_change, d_states = residuals(k, d_change, beta, gate, -d_final, reverse=True, less=(q, d_out))
    d_states = -d_states
    d_v = d_change * share

    d_q = alike(d_out, change, k, states=states, gated="value")
    d_k = alike(change, d_out, q, states=d_states, gated="value", reverse=True)
    d_k -= alike(change, d_v, k, states=None, gated="value", reverse=True, strict=True)
    d_k -= alike(d_v, change, k, states=states, gated="value", strict=True)
    if gate is None:
        d_gate = states.new_empty(0)
    else:
        d_gate = gate_gradient(q, k, change, gate, states, d_out, d_states, takers=k, d_taken=d_v)
    return d_q, d_k.to(k.dtype), d_v, (d_change * residual).sum(-1), d_gate, d_states[:, 0].clone()


@forward.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: torch.Tensor,
    gate: torch.Tensor | None,
    start: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    chunks = -(-q.shape[1] // chunk_size(gate))
    states = start.new_empty(start.shape[0], chunks + 1, *start.shape[1:])
    return v.new_empty(v.shape), start.new_empty(start.shape), start.new_empty(v.shape), states


@backward.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,
    beta: torch.Tensor,
    gate: torch.Tensor | None,
    residual: torch.Tensor,
    states: torch.Tensor,
    d_out: torch.Tensor,
    d_final: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    new = states.new_empty
    d_gate = new(0) if gate is None else new(gate.shape)
    return new(q.shape), k.new_empty(k.shape), new(residual.shape), new(beta.shape), d_gate, new(d_final.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    q, k, v, beta, gate, _ = inputs
    ctx.mark_non_differentiable(*output[2:])
    ctx.save_for_backward(q, k, beta, gate, *output[2:])
    ctx.dtype = v.dtype


def _backward(ctx: Any, d_out: torch.Tensor, d_final: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
    gate = ctx.saved_tensors[3]
    d_q, d_k, d_v, d_beta, d_gate, d_start = backward(*ctx.saved_tensors, d_out, d_final)
    return d_q, d_k, d_v.to(ctx.dtype), d_beta, None if gate is None else d_gate, d_start


forward.register_autograd(_backward, setup_context=_setup_context)
