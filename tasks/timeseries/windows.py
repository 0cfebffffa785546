"""Windows over a table: views of one tensor, never copies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from gated.errors import UserError

Pair = tuple[torch.Tensor, torch.Tensor]


class Windows(Dataset[Pair]):
    """Every window, one step apart, whose forecast lies in rows ``start..stop``.

    The input of a window may reach back before ``start``: a validation window sees the last training rows as context,
    but no row is ever a target of two parts.

    Args:
        values_TN: the whole table ``[T, N]``.
        input_size: steps of input ``L``.
        horizon: steps of forecast ``H``.
        start: first row that may be a target.
        stop: row after the last one that may be a target; the end of the table by default.

    Raises:
        UserError: there is no room for a single window.
    """

    def __init__(
        self, values_TN: torch.Tensor, *, input_size: int, horizon: int, start: int = 0, stop: int | None = None
    ) -> None:
        stop = len(values_TN) if stop is None else stop
        first = max(0, start - input_size)
        needed = input_size + horizon
        if stop - first < needed:
            raise UserError(
                "the series is too short for the window",
                expected=f"at least {needed} rows (input_size {input_size} + horizon {horizon})",
                found=f"{max(0, stop - first)} rows",
                hint="give more rows, or lower the horizon or the input size",
            )
        self.input_size, self.horizon, self.first = input_size, horizon, first
        self.values_TN = values_TN
        # [windows, N, L + H], all of them the same memory as values_TN
        self.view = values_TN[first:stop].unfold(0, needed, 1)

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, index: int) -> Pair:
        """Return input ``[L, N]`` and target ``[H, N]`` of one window."""
        window_TN = self.view[index].T
        return window_TN[: self.input_size], window_TN[self.input_size :]

    def __getitems__(self, indices: Sequence[int]) -> Pair:
        """Return inputs ``[B, L, N]`` and targets ``[B, H, N]`` of many windows in one gather (what a loader calls)."""
        windows_BTN = self.view[torch.as_tensor(indices)].transpose(1, 2)
        return windows_BTN[:, : self.input_size], windows_BTN[:, self.input_size :]

    def looking_back(self, input_size: int) -> Windows:
        """Return the very same targets with another length of input.

        Raises:
            UserError: there are not as many rows before the first target.
        """
        start = self.first + self.input_size
        if start < input_size:
            raise UserError(
                "not enough rows before the first window", expected=f"at least {input_size}", found=str(start)
            )
        stop = start + self.horizon + len(self) - 1
        return Windows(self.values_TN, input_size=input_size, horizon=self.horizon, start=start, stop=stop)


def as_batch(batch: Pair) -> Pair:
    """Collate what :meth:`Windows.__getitems__` has already put together."""
    return batch
