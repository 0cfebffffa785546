"""The scan as a short graph of plain operations with a fixed depth, for ``torch.export`` with any length.

A graph cannot loop over a length that it does not know. Here the pairs ``(a, b)`` of the map ``h -> a h + b`` are
composed with those 1, 2, 4, ... steps before, 24 times: enough for 2^24 (16 million) steps. Every shape in it is that
of ``x`` (blocks would save work, but nested divisions of a symbolic length take the exporter minutes).
"""

from __future__ import annotations

import torch

LEVELS = 24


def doubling_scan(x: torch.Tensor, decay: torch.Tensor, *, reverse: bool) -> torch.Tensor:
    """Return ``h_t = decay_t h_{t-1} + x_t`` (``h_{t+1}`` if ``reverse``) from zero, for at most ``2 ** 24`` steps."""
    if reverse:
        return doubling_scan(x.flip(-2), decay.flip(-2), reverse=False).flip(-2)
    a, b = decay, x
    position = torch.arange(x.shape[-2], device=x.device)
    for level in range(LEVELS):
        earlier = (position - 2**level).clamp_min(0)
        # whoever has nobody that far back is complete
        a = a * (position >= 2**level).to(a.dtype).unsqueeze(-1)
        b = b + a * b.index_select(-2, earlier)
        a = a * a.index_select(-2, earlier)
    return b
