"""The fast form: torch's convolution where kernels are small, a product of spectra where they are large."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gated.core.ops._op import is_exporting

_MOST_TAPS = 192
"""Taps of a kernel up to which convolving directly is faster (measured with AVX2, see the README)."""


def chunk(context: torch.Tensor, weight: torch.Tensor, *, padding: tuple[int, ...], dilation: int) -> torch.Tensor:
    """See :class:`gated.core.ops.gated_conv.recursion.Convolution`."""
    # a length that is chosen later needs no FFT of a size that nobody knows
    large = weight[0].numel() > _MOST_TAPS and not is_exporting()
    return (_spectral if large else _direct)(context, weight, padding=padding, dilation=dilation)


def _direct(context: torch.Tensor, weight: torch.Tensor, *, padding: tuple[int, ...], dilation: int) -> torch.Tensor:
    planes, kernels = context.movedim(-1, 1), weight.unsqueeze(1)
    line = len(padding) == 1
    if line:  # a plane of one row takes torch half the time of a line
        planes, kernels, padding = planes.unsqueeze(2), kernels.unsqueeze(2), (0, *padding)
    convolve = F.conv3d if len(padding) == 3 else F.conv2d
    out = convolve(planes, kernels, padding=padding, dilation=dilation, groups=len(weight))
    return (out.squeeze(2) if line else out).movedim(1, -1)


def _spectral(context: torch.Tensor, weight: torch.Tensor, *, padding: tuple[int, ...], dilation: int) -> torch.Tensor:
    """In double precision: an FFT spreads the rounding of the loudest token over all of them."""
    planes = context.movedim(-1, 1).double()
    axes = tuple(range(-len(padding), 0))
    kernel = _spread(weight.double(), dilation).flip(axes)
    # room for all that overlaps at all, so that no end wraps around onto the beginning
    sizes = [_smooth(n + k - 1) for n, k in zip(planes.shape[2:], kernel.shape[1:], strict=True)]
    spectrum = torch.fft.rfftn(planes, sizes, axes) * torch.fft.rfftn(kernel, sizes, axes)
    out = torch.fft.irfftn(spectrum, sizes, axes)
    for axis, (margin, k) in enumerate(zip(padding, kernel.shape[1:], strict=True), start=2):
        out = out.narrow(axis, k - 1 - margin, planes.shape[axis] + 2 * margin - k + 1)
    return out.movedim(1, -1).to(context.dtype)


def _spread(weight: torch.Tensor, dilation: int) -> torch.Tensor:
    """Return the kernels with zeros between their taps."""
    if dilation == 1:
        return weight
    spread = weight.new_zeros(len(weight), *(dilation * (k - 1) + 1 for k in weight.shape[1:]))
    spread[(slice(None), *(slice(None, None, dilation),) * (weight.dim() - 1))] = weight
    return spread


def _smooth(size: int) -> int:
    """Return the next number without a prime factor over 5: an FFT of a prime size takes several times as long."""
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1
