"""The fast form: matmuls inside chunks of 64 tokens, and states that pass from chunk to chunk."""

from __future__ import annotations

from functools import partial

import torch

from gated.core.ops._decay import chunk_decay, chunk_size, finite, in_chunks, leading, scaled, scan_states
from gated.core.ops._recurrence import Inputs, in_segments


def chunk(inputs: Inputs, state: torch.Tensor, *, decay_bound: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`gated.core.ops.linear_recurrence`."""
    return in_segments(partial(_segment, decay_bound=decay_bound), inputs.wide(), state)


def _segment(inputs: Inputs, state: torch.Tensor, *, decay_bound: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    length = inputs.q.shape[2]
    gate = inputs.log_decay
    size = chunk_size(length, 64, halves=gate is not None and gate.dim() == 4)
    q, k, v = (in_chunks(x, size) for x in inputs[:3])
    gate = None if gate is None else in_chunks(finite(gate), size)
    decay = chunk_decay((q,), k, gate, decay_bound)

    writes = scaled(k, decay.to_end).mT @ v
    # the initial state is the write of a chunk before the first
    total = decay.log_total
    if total is not None:
        total = torch.cat(
            (torch.zeros_like(state[..., 0] if total.dim() == 4 else state[..., 0, 0]).unsqueeze(2), total), 2
        )
    states = scan_states(torch.cat((state.unsqueeze(2), writes), 2), total)
    output = decay.scores[0] @ v + scaled(q, decay.from_start) @ states[:, :, :-1]
    return leading(output.flatten(2, 3), 2, length), states[:, :, -1]
