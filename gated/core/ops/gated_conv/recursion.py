"""What both forms share: padding, masks and state around the convolution, and the gated steps behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

import torch
import torch.nn.functional as F

Activation: TypeAlias = Literal["none", "sigmoid", "silu", "gelu"]
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda y: y,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
}


class Convolution(Protocol):
    """A form: ``[B, *cells + margins, C]`` and one kernel a channel ``[C, *kernel]`` give ``[B, *cells, C]``.

    ``padding`` is the number of zeros that are still missing at both ends of each axis.
    """

    def __call__(
        self, context: torch.Tensor, weight: torch.Tensor, *, padding: tuple[int, ...], dilation: int
    ) -> torch.Tensor:
        """Return the depthwise convolution."""


def recursion(
    convolve: Convolution,
    x: torch.Tensor,
    context: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    mixes: Sequence[torch.Tensor],
    mix_biases: Sequence[torch.Tensor],
    cells: tuple[int, ...],
    dilation: int,
    activation: Activation,
    scale: float,
    causal: bool,
    mask: torch.Tensor | None,
    initial_state: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return output and state, on tensors of one dtype; see :func:`gated.core.ops.gated_conv`."""
    if mask is not None:
        # not a product: padding may hold anything, even what is no number
        x, context = (t.masked_fill(~mask.unsqueeze(-1), 0.0) for t in (x, context))
    y, state = None, None
    if causal:
        y, state = _causal(convolve, context, weight, dilation, mask, initial_state)
    elif context.numel():
        y = _centred(convolve, context.unflatten(1, cells), weight, dilation).flatten(1, -2)
    if y is None:  # torch convolves nothing that is empty
        y = context * weight.flatten(1).sum(1)
    y = _ACTIVATIONS[activation](scale * (y if bias is None else y + bias))
    first, *others = y.split([x.shape[2], *(mix.shape[0] for mix in mixes)], -1)
    out = x * first
    for k, gate in enumerate(others):
        out = F.linear(out, mixes[k], mix_biases[k] if mix_biases else None) * gate
    return out if mask is None else out.masked_fill(~mask.unsqueeze(-1), 0.0), state


def _centred(convolve: Convolution, planes: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
    reaches = [dilation * (size - 1) for size in weight.shape[1:]]
    if any(reach % 2 for reach in reaches):  # the longer half looks ahead
        planes = F.pad(planes, (0, 0, *(side for reach in reversed(reaches) for side in (0, reach % 2))))
    return convolve(planes, weight, padding=tuple(reach // 2 for reach in reaches), dilation=dilation)


def _causal(
    convolve: Convolution,
    context: torch.Tensor,
    weight: torch.Tensor,
    dilation: int,
    mask: torch.Tensor | None,
    before: torch.Tensor | None,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Return the convolution of the real tokens as if there were no others (None without any), and what comes last."""
    batch, length, channels = context.shape
    reach = dilation * (weight.shape[1] - 1)
    before = context.new_zeros(batch, reach, channels) if before is None else before
    if not context.numel():
        return None, before.clone()
    if mask is None:
        context = torch.cat((before, context), 1)
        # a view would keep all of the context
        return convolve(context, weight, padding=(0,), dilation=dilation), context[:, length:].clone()
    count = mask.sum(1, keepdim=True)
    # real tokens first, each kind in its order; no sort, for which ONNX has no word
    places = torch.where(mask, mask.cumsum(1), count + (~mask).cumsum(1)) - 1
    moved = torch.zeros_like(context).scatter(1, _wide(places, channels), context)
    context = torch.cat((before, moved), 1)
    y = convolve(context, weight, padding=(0,), dilation=dilation).gather(1, _wide(places, channels))
    last = count + torch.arange(reach, device=mask.device)
    return y, context.gather(1, _wide(last, channels))


def _wide(places: torch.Tensor, channels: int) -> torch.Tensor:
    """``[B, n] -> [B, n, C]``."""
    return places.unsqueeze(-1).expand(-1, -1, channels)
