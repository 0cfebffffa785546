"""The data module of a wide CSV: parts in order of time, a scaler that saw the training rows only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader

from gated.engine.data import GatedDataModule
from gated.errors import UserError
from tasks.timeseries.table import Table, read_table
from tasks.timeseries.windows import Windows, as_batch

Split: TypeAlias = Literal["ett"] | tuple[float, float, float]


class Borders(NamedTuple):
    """Rows at which the training, validation and test parts end."""

    train: int
    val: int
    test: int


class Scaler(NamedTuple):
    """Mean and standard deviation (ddof 0) of each series over the training rows."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, values_TN: np.ndarray) -> Scaler:
        """Fit on ``[T, N]``; a constant series keeps a deviation of 1."""
        std = values_TN.std(axis=0)
        return cls(values_TN.mean(axis=0), np.where(std > 0, std, 1.0))

    def scale(self, values_TN: np.ndarray) -> torch.Tensor:
        """Return the standardised values as float32."""
        return torch.from_numpy(((values_TN - self.mean) / self.std).astype(np.float32))

    def unscale(self, values_TN: torch.Tensor) -> np.ndarray:
        """Return values in the units of the table, float64."""
        return values_TN.double().numpy() * self.std + self.mean


def ett_borders(num_rows: int, frequency: str) -> Borders:
    """Return the borders of the ETT benchmarks: 12, 4 and 4 months of 30 days.

    Raises:
        UserError: the table is neither hourly nor at 15 minutes, or too short.
    """
    per_hour = {"h": 1, "15min": 4}.get(frequency)
    months = 30 * 24 * (per_hour or 1)
    if per_hour is None or num_rows < 20 * months:
        raise UserError(
            "split='ett' does not fit this table",
            expected=f"hourly or 15-minute data of at least {20 * months} rows",
            found=f"{num_rows} rows every {frequency}",
            hint="give shares instead: --data.split [0.7,0.1,0.2]",
        )
    return Borders(12 * months, 16 * months, 20 * months)


def share_borders(num_rows: int, shares: tuple[float, float, float]) -> Borders:
    """Return borders by share of the rows, rounded as the benchmarks do: train and test down, validation the rest."""
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise UserError(
            "split must be three positive shares that add up to 1",
            expected="such as [0.7, 0.1, 0.2]",
            found=str(list(shares)),
        )
    # 0.7 * 10 is 6.999... in floating point, which must not cost a row
    train, test = (int(share * num_rows + 1e-6) for share in (shares[0], shares[2]))
    return Borders(train, num_rows - test, num_rows)


class TableWindows(GatedDataModule):
    """Windows of a table: the training part first, then validation, then test.

    Args:
        table: the series.
        input_size: steps that a forecast looks back.
        horizon: steps to forecast.
        split: shares of training, validation and test, or ``"ett"`` for the borders of that benchmark.
        batch_size: windows in a batch.
        num_workers: loading processes; 0 is fastest here, windows are views.
        seed: of the order of the training windows.

    Raises:
        UserError: a part has no room for a window.
    """

    def __init__(
        self,
        table: Table,
        *,
        input_size: int,
        horizon: int,
        split: Split = (0.7, 0.1, 0.2),
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        if min(input_size, horizon) < 1:
            raise UserError(
                "input_size and horizon must be positive", expected=">= 1", found=f"{input_size} and {horizon}"
            )
        self.table, self.input_size, self.horizon = table, input_size, horizon
        rows = table.values.to_numpy()
        self.borders = ett_borders(len(rows), table.frequency) if split == "ett" else share_borders(len(rows), split)
        self.scaler = Scaler.fit(rows[: self.borders.train])
        self.values_TN = self.scaler.scale(rows)
        for part in ("train", "val", "test"):
            self.windows(part)

    @property
    def num_series(self) -> int:
        """Number of columns that are forecast."""
        return len(self.table.columns)

    def windows(self, part: Literal["train", "val", "test"]) -> Windows:
        """Return the standardised windows of one part.

        Raises:
            UserError: the part has no room for a window; the message tells how many rows are needed in all.
        """
        start = {"train": 0, "val": self.borders.train, "test": self.borders.val}[part]
        stop = getattr(self.borders, part)
        try:
            return Windows(self.values_TN, input_size=self.input_size, horizon=self.horizon, start=start, stop=stop)
        except UserError as error:
            raise UserError(
                f"the table is too short for the {part} part",
                expected=f"input_size {self.input_size} + horizon {self.horizon} rows in it",
                found=f"{len(self.table.values)} rows in all, {stop - start} of them in the {part} part",
                hint="give more rows, or lower the horizon or the input size",
            ) from error

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training windows."""
        return self.loader(self.windows("train"), train=True, collate_fn=as_batch)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation window, in order."""
        return self.loader(self.windows("val"), train=False, collate_fn=as_batch)

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test window, in order: none is dropped."""
        return self.loader(self.windows("test"), train=False, collate_fn=as_batch)

    def facts(self) -> dict[str, Any]:
        """What a forecast needs beside the weights."""
        scaler, table = self.scaler, self.table
        return {
            "columns": table.columns,
            "scaler": {
                name: {"mean": float(mean), "std": float(std)}
                for name, mean, std in zip(table.columns, scaler.mean, scaler.std, strict=True)
            },
            "frequency": table.frequency,
            "date_format": table.layout.date_format.pattern,
            "input_size": self.input_size,
            "horizon": self.horizon,
        }


class SeriesTable(TableWindows):
    """Windows of a wide CSV with a date column.

    Args:
        csv: the file, or ``national_illness`` for the one that ships; see :func:`tasks.timeseries.table.read_table`.
        input_size: steps that a forecast looks back.
        horizon: steps to forecast.
        date_column: name of the date column; found where not given.
        target: the columns to forecast, which are also the ones looked at; all where not given.
        split: shares of training, validation and test in order of time, or ``"ett"`` for that benchmark's borders.
        batch_size: windows in a batch.
        num_workers: loading processes; 0 is fastest here, windows are views.
        seed: of the order of the training windows.

    Raises:
        UserError: the CSV can't be read as it is, or is too short.
    """

    def __init__(
        self,
        csv: str | Path,
        *,
        input_size: int,
        horizon: int,
        date_column: str | None = None,
        target: str | list[str] | None = None,
        split: Split = (0.7, 0.1, 0.2),
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            read_table(csv, date_column=date_column, target=target),
            input_size=input_size,
            horizon=horizon,
            split=split,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
        )
