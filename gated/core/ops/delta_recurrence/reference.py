"""The definition: one step a token, readable; run it in double precision to judge the other forms."""

from __future__ import annotations

import torch

from gated.core.ops._recurrence import Inputs


def reference(
    inputs: Inputs, state: torch.Tensor | None, scale: float, *, decay_bound: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`gated.core.ops.delta_recurrence`."""
    state = inputs.start(state)
    q, k, v, log_decay, beta = inputs.wide().scaled(scale)
    assert beta is not None
    outputs = []
    for t in range(q.shape[2]):
        if log_decay is not None:
            decay = torch.exp(log_decay[:, :, t])
            state = state * (decay[..., None, None] if decay.dim() == 2 else decay[..., None])
        held = (k[:, :, t, None, :] @ state).squeeze(2)
        change = beta[:, :, t, None] * (v[:, :, t] - held)
        state = state + k[:, :, t, :, None] * change[:, :, None, :]
        outputs.append((q[:, :, t, None, :] @ state).squeeze(2))
    return (torch.stack(outputs, 2) if outputs else v[:, :, :0]), state
