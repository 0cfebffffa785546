"""The linear map from past to future that fits windows best, in closed form."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tasks.timeseries.windows import Windows

RIDGE = 1e-6
_MAX_ROWS = 200_000
_BATCH = 256


def linear_map(windows: Windows, ridge: float = RIDGE) -> torch.Tensor:
    """Return the weights ``[L, H]``, fp64, that forecast windows from their past with the least squared error.

    Each window is centred on its own mean, so the map needs no bias and its forecast moves and scales with the series.
    A missing target drops out of the equations of its step alone. Of many windows an even share is taken.

    Args:
        windows: standardised, of one or many series; all of them share the map.
        ridge: relative to the mean square of the inputs; it only guards the solve.
    """
    length, horizon = windows.input_size, windows.horizon
    gram = torch.zeros(length, length, dtype=torch.float64)
    cross = torch.zeros(length, horizon, dtype=torch.float64)
    incomplete = [torch.zeros(0, length, dtype=torch.float64)]
    gaps = [torch.zeros(0, horizon, dtype=torch.bool)]
    for x_ML, y_MH in _equations(windows):
        gone = y_MH.isnan()
        gram += x_ML.T @ x_ML
        cross += x_ML.T @ y_MH.masked_fill(gone, 0.0)
        some = gone.any(dim=1)
        incomplete.append(x_ML[some])
        gaps.append(gone[some])
    x_ML, gone_MH = torch.cat(incomplete), torch.cat(gaps)
    guard = ridge * gram.diagonal().mean().clamp(min=1e-12) * torch.eye(length, dtype=torch.float64)
    weight = torch.linalg.solve(gram + guard, cross)
    for step in torch.nonzero(gone_MH.any(dim=0)).flatten().tolist():
        left_out = x_ML[gone_MH[:, step]]
        weight[:, step] = torch.linalg.solve(gram - left_out.T @ left_out + guard, cross[:, step])
    return weight


def _equations(windows: Windows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield centred inputs ``[M, L]`` and targets ``[M, H]``, at most ``_MAX_ROWS`` in all, evenly spread."""
    series = windows.panel.num_targets
    keep = max(1, -(-len(windows) * series // _MAX_ROWS))
    for start in range(0, len(windows), _BATCH * keep):
        chosen = range(start, min(start + _BATCH * keep, len(windows)), keep)
        batch = windows.__getitems__(chosen)
        mean = batch.x.mean(dim=1, keepdim=True)
        yield tuple(
            (part - mean).transpose(1, 2).reshape(len(chosen) * series, -1).double() for part in (batch.x, batch.y)
        )
