"""The definition: one step after the other, any dtype; run it in double precision to judge the other forms."""

from __future__ import annotations

import torch


def reference(x: torch.Tensor, log_decay: torch.Tensor, *, constant: bool, reverse: bool) -> torch.Tensor:
    """Return every ``h_t = exp(log_decay_t) * h_{t-1} + x_t`` (``h_{t+1}`` if ``reverse``), starting from zero.

    Args:
        x: ``[..., T, D]`` in the dtype of the result.
        log_decay: same dtype, broadcasts to ``x``; its time axis has length 1 if ``constant``.
        constant: the decay is the same at every step.
        reverse: run from the last step to the first.
    """
    decay = torch.exp(log_decay)
    if x.shape[-2] == 0:
        return x * decay
    if constant:
        decay = decay.expand(*decay.shape[:-2], x.shape[-2], -1)
    steps = list(zip(decay.unbind(-2), x.unbind(-2), strict=True))
    state = torch.zeros_like(steps[0][1])
    states = []
    for decay_t, x_t in reversed(steps) if reverse else steps:
        state = decay_t * state + x_t
        states.append(state)
    return torch.stack(states[::-1] if reverse else states, -2)
