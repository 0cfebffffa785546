"""ReLU that ``torch.compile`` can differentiate fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class ReLU(nn.ReLU):
    """``nn.ReLU``; compiled, its gradient needs nothing but its output.

    Inductor keeps a boolean for each value of ``nn.ReLU``, and storing it (measured with AVX2) takes ten times as long
    as all else in its kernel.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``max(x, 0)``."""
        if not torch.compiler.is_compiling():
            return super().forward(x)
        out: torch.Tensor = _Rectified.apply(x)
        return out


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        out = x.relu()
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (out,) = ctx.saved_tensors
        return grad * out.sign()
