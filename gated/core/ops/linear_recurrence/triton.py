"""The form for GPUs: states pass from chunk to chunk, then all chunks are mixed at once; five kernels backward."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from gated.core.ops._recurrence import Inputs
from gated.core.ops._recurrence_triton import chunk_size, gate_gradient, mix, pass_states


def triton(
    inputs: Inputs, state: torch.Tensor | None, scale: float, *, decay_bound: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`gated.core.ops.linear_recurrence`; per-channel gates are exact whatever their bound."""
    state = inputs.start(state)
    q, k, v, gate, _ = (None if x is None else x.flatten(0, 1) for x in inputs.scaled(scale))
    output, final, _ = forward(q, k, v, gate, state.flatten(0, 1))
    return output.unflatten(0, state.shape[:2]), final.unflatten(0, state.shape[:2])


@torch.library.custom_op("gated::linear_recurrence_triton", mutates_args=())
def forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, gate: torch.Tensor | None, start: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the output ``[S, T, V]``, the final state and the states at the borders of chunks."""
    gate = None if gate is None else gate.contiguous()
    states = pass_states(k, v, gate, start)
    return mix(q, k, v, gate, states, dtype=v.dtype), states[:, -1].clone(), states


@torch.library.custom_op("gated::linear_recurrence_triton_backward", mutates_args=())
def backward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gate: torch.Tensor | None,
    states: torch.Tensor,
    d_out: torch.Tensor,
    d_final: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of ``q, k, v, gate`` (empty without one) and of the initial state."""
    gate = None if gate is None else gate.contiguous()
    alike = partial(mix, gate=gate)
    d_states = pass_states(q, d_out, gate, d_final, reverse=True)
    d_q = alike(d_out, v, k, states=states, gated="value")
    d_k = alike(v, d_out, q, states=d_states, gated="value", reverse=True, dtype=k.dtype)
    d_v = alike(k, q, d_out, states=d_states, reverse=True, dtype=v.dtype)
    d_gate = states.new_empty(0) if gate is None else gate_gradient(q, k, v, gate, states, d_out, d_states)
    return d_q, d_k, d_v, d_gate, d_states[:, 0].clone()


@forward.register_fake
def _(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, gate: torch.Tensor | None, start: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chunks = -(-q.shape[1] // chunk_size(gate))
    states = start.new_empty(start.shape[0], chunks + 1, *start.shape[1:])
    return v.new_empty(v.shape), start.new_empty(start.shape), states


@backward.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gate: torch.Tensor | None,
    states: torch.Tensor,
    d_out: torch.Tensor,
    d_final: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    new = states.new_empty
    d_gate = new(0) if gate is None else new(gate.shape)
    return new(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), d_gate, new(d_final.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    q, k, v, gate, _ = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(q, k, v, gate, output[2])


def _backward(ctx: Any, d_out: torch.Tensor, d_final: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
    gate = ctx.saved_tensors[3]
    d_q, d_k, d_v, d_gate, d_start = backward(*ctx.saved_tensors, d_out, d_final)
    return d_q, d_k, d_v, None if gate is None else d_gate, d_start


forward.register_autograd(_backward, setup_context=_setup_context)
