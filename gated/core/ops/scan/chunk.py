"""The fast form: blocks of time run side by side; exported graphs and tangents get a form made of plain operations."""

from __future__ import annotations

import torch

from gated.core.ops._op import needs_plain
from gated.core.ops.scan.blocks import block_scan
from gated.core.ops.scan.convolution import convolution_scan
from gated.core.ops.scan.doubling import doubling_scan


def chunk(x: torch.Tensor, log_decay: torch.Tensor, *, constant: bool, reverse: bool) -> torch.Tensor:
    """See :func:`gated.core.ops.scan.reference.reference`."""
    plain = needs_plain()  # of the registered operation torch would take tangents for zero
    # on a CPU the blocks beat the FFT by far (README); many short steps only hurt where each is a kernel launch
    if constant and (plain or x.device.type != "cpu"):
        return convolution_scan(x, log_decay, reverse=reverse)
    if plain:
        return doubling_scan(x, torch.exp(log_decay), reverse=reverse)
    return block_scan(x, torch.exp(log_decay), reverse)
