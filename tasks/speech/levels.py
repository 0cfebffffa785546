"""How loud the separated voices are."""

from __future__ import annotations

import torch


def fit_level(voices: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    """Scale each voice ``[S, T]`` so that their sum comes closest to the mixture ``[T]`` (least squares).

    Where that would turn a voice upside down or drown it (the voices are too much alike to tell their levels apart, or
    one is silent), all get the one scale that brings the sum closest.
    """
    wide, target = voices.double(), mixture.double()
    energy = wide @ wide.T
    scales = torch.linalg.lstsq(energy, wide @ target, driver="gelsd").solution
    total = wide.sum(0)
    common = (total @ target / (total @ total).clamp_min(1e-20)).clamp_min(0)
    if (scales < common / 4).any() or (scales > common * 4).any():
        scales = common.expand(len(voices))
    return (wide * scales[:, None]).float()


def limit(voices: torch.Tensor, peak: float) -> torch.Tensor:
    """Turn all voices down together until none exceeds ``peak``."""
    highest = float(voices.abs().amax()) if voices.numel() else 0.0
    return voices * (peak / highest) if highest > peak else voices
