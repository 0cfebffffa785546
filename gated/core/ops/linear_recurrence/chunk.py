"""The fast form: matmuls inside chunks of 64 tokens, and states that pass from chunk to chunk."""

from __future__ import annotations

from functools import partial

import torch

from gated.core.ops._decay import chunk_decay, chunk_size, finite, in_chunks, leading, scan_states
from gated.core.ops._decay_centred import block_size
from gated.core.ops._op import needs_plain
from gated.core.ops._products import columns_by_columns
from gated.core.ops._recurrence import Inputs, in_segments
from gated.core.ops._walk import Steps, at_once, walk
from gated.core.ops.linear_recurrence import midpoint

_SMALLEST, _LARGEST = 8, 16
"""Tokens in a chunk of a walk: of smaller ones the states cost more than they save, and the sums over larger ones lose
digits of the gates' gradients."""


def chunk(
    inputs: Inputs, state: torch.Tensor | None, scale: float, *, decay_bound: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`gated.core.ops.linear_recurrence`."""
    inputs = inputs.wide()
    q, k, v, gate, _ = inputs
    size = _walked(inputs, decay_bound)
    if size is None or gate is None:
        return in_segments(partial(_segment, decay_bound=decay_bound), inputs.scaled(scale), inputs.start(state))
    steps = Steps(
        partial(midpoint.forward, size),
        partial(midpoint.backward, size),
        partial(_segment, decay_bound=decay_bound),
        multiple=size,
    )
    width = max(q.shape[-1], v.shape[-1])
    heads = min(at_once(width * width), q.shape[0] * q.shape[1])
    return walk(steps, (q, k, v, gate), state, scale, size=size * at_once(heads * size * width), heads=heads)


def _walked(inputs: Inputs, decay_bound: float | None) -> int | None:
    """Tokens in a chunk of :mod:`midpoint`, or None where the chunks of the whole sequence go side by side."""
    length, gate = inputs.q.shape[2], inputs.log_decay
    if gate is None or gate.dim() != 4 or inputs.q.device.type != "cpu" or not length:
        return None
    # many small steps would make a long graph
    if needs_plain() or torch.compiler.is_compiling():
        return None
    size = block_size(decay_bound, _LARGEST)
    if size < _SMALLEST:
        return None
    while size > 2 and size // 2 >= length:
        size //= 2
    return size


def _segment(inputs: Inputs, state: torch.Tensor, *, decay_bound: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    length = inputs.q.shape[2]
    gate = inputs.log_decay
    size = chunk_size(length, 64, halves=gate is not None and gate.dim() == 4)
    q, k, v = (in_chunks(x, size) for x in inputs[:3])
    gate = None if gate is None else in_chunks(finite(gate, decay_bound), size)
    decay = chunk_decay((q,), k, gate, decay_bound)

    before, state = scan_states(state, columns_by_columns(decay.writer, v), decay.log_total)
    output = decay.scores[0] @ v + decay.readers[0] @ before
    return leading(output.flatten(2, 3), 2, length), state
