"""Constant decay: the scan is a convolution with the kernel ``exp(log_decay) ** t``, done by FFT."""

from __future__ import annotations

import torch


def convolution_scan(x: torch.Tensor, log_decay: torch.Tensor, *, reverse: bool) -> torch.Tensor:
    """Return ``h_t = sum_{s<=t} exp((t - s) log_decay) x_s`` (``s >= t`` if ``reverse``).

    An FFT spreads rounding over the whole sequence, so it is done in double precision: what a single-precision result
    then shows is its own rounding, not that of louder tokens elsewhere.

    Args:
        x: ``[..., T, D]``.
        log_decay: ``[..., 1, D]`` of the same dtype.
        reverse: run from the last step to the first.
    """
    if reverse:
        return convolution_scan(x.flip(-2), log_decay, reverse=False).flip(-2)
    length = x.shape[-2]
    if length == 0:
        return x * torch.exp(log_decay)
    kernel = decay_kernel(log_decay, length)
    # twice the length, so that the end does not wrap around onto the beginning
    if x.is_complex():
        signal = torch.fft.fft(x.to(torch.complex128), 2 * length, -2)
        h = torch.fft.ifft(signal * torch.fft.fft(kernel, 2 * length, -2), 2 * length, -2)
    else:
        signal = torch.fft.rfft(x.double(), 2 * length, -2)
        h = torch.fft.irfft(signal * torch.fft.rfft(kernel, 2 * length, -2), 2 * length, -2)
    return h[..., :length, :].to(x.dtype)


def decay_kernel(log_decay: torch.Tensor, length: int) -> torch.Tensor:
    """Return ``exp(t log_decay)`` for ``t = 0 .. length - 1`` in double precision, ``[..., length, D]``."""
    steps = torch.arange(length, dtype=torch.float64, device=log_decay.device).unsqueeze(-1)
    # 0 * -inf is no number; exp(-1e4) is the same zero
    if log_decay.is_complex():
        log_decay = log_decay.to(torch.complex128)
        return torch.exp(torch.complex(steps * log_decay.real.clamp_min(-1e4), steps * log_decay.imag))
    return torch.exp(steps * log_decay.double().clamp_min(-1e4))
