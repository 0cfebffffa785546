"""The fast form: matmuls inside chunks of 64 tokens, and states that pass from chunk to chunk."""

from __future__ import annotations

from functools import partial

import torch

from gated.core.ops._decay import chunk_decay, chunk_size, finite, in_chunks, leading, scan_states
from gated.core.ops._products import columns_by_columns
from gated.core.ops._recurrence import Inputs, in_segments


def chunk(
    inputs: Inputs, state: torch.Tensor | None, *, decay_bound: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`gated.core.ops.linear_recurrence`."""
    return in_segments(partial(_segment, decay_bound=decay_bound), inputs.wide(), inputs.start(state))


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
