"""The data module of a CSV: parts in order of time, a scaler that saw the training rows only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from torch.utils.data import DataLoader

from gated.engine.data import GatedDataModule
from gated.errors import UserError
from tasks.timeseries.panel import Panel, Scaler
from tasks.timeseries.reading import read_table
from tasks.timeseries.table import Table
from tasks.timeseries.windows import Windows, as_batch

Split: TypeAlias = Literal["ett"] | tuple[float, float, float]


class Borders(NamedTuple):
    """Rows of each group at which the training, validation and test parts end."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def ett_borders(lengths: np.ndarray, frequency: str | int) -> Borders:
    """Return the borders of the ETT benchmarks: 12, 4 and 4 months of 30 days.

    Raises:
        UserError: the table is neither hourly nor at 15 minutes, or too short.
    """
    per_hour = {"h": 1, "15min": 4}.get(str(frequency))
    months = 30 * 24 * (per_hour or 1)
    if per_hour is None or np.min(lengths) < 20 * months:
        raise UserError(
            "split='ett' does not fit this table",
            expected=f"hourly or 15-minute data of at least {20 * months} rows",
            found=f"{np.min(lengths)} rows every {frequency}",
            hint="give shares instead: --data.split [0.7,0.1,0.2]",
        )
    ones = np.ones_like(lengths)
    return Borders(12 * months * ones, 16 * months * ones, 20 * months * ones)


def share_borders(lengths: np.ndarray, shares: tuple[float, float, float]) -> Borders:
    """Return borders by share of the rows, rounded as the benchmarks do: train and test down, validation the rest."""
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise UserError(
            "split must be three positive shares that add up to 1",
            expected="such as [0.7, 0.1, 0.2]",
            found=str(list(shares)),
        )
    # 0.7 * 10 is 6.999... in floating point, which must not cost a row
    train, test = (np.floor(share * np.asarray(lengths) + 1e-6).astype(int) for share in (shares[0], shares[2]))
    return Borders(train, lengths - test, lengths)


class TableWindows(GatedDataModule):
    """Windows of a table: the training part of each group first, then validation, then test.

    Args:
        table: the series.
        input_size: steps that a forecast looks back.
        horizon: steps to forecast.
        split: shares of training, validation and test, ``"ett"`` for the borders of that benchmark, or the borders.
        batch_size: windows in a batch.
        max_windows: at most as many training windows in an epoch, drawn anew each time; all where not given.
        num_workers: loading processes; 0 is fastest here, windows are views.
        seed: of the order of the training windows.

    Raises:
        UserError: a part has no room for a window, or what is known ahead ends too early.
    """

    def __init__(
        self,
        table: Table,
        *,
        input_size: int,
        horizon: int,
        split: Split | Borders = (0.7, 0.1, 0.2),
        batch_size: int = 32,
        max_windows: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        if min(input_size, horizon) < 1:
            raise UserError(
                "input_size and horizon must be positive", expected=">= 1", found=f"{input_size} and {horizon}"
            )
        self.table, self.input_size, self.horizon, self.max_windows = table, input_size, horizon, max_windows
        self.borders = _borders(table, split)
        self.scaler = Scaler.fit(table, self.borders.train)
        self.padding = _padding(self.borders.train, input_size, horizon)
        self.panel = Panel.build(table, self.scaler, horizon=horizon, padding=self.padding)
        self.windows("train")
        for part, before in (("val", self.borders.train), ("test", self.borders.val)):
            if (getattr(self.borders, part) > before).any():
                self.windows(part)

    @property
    def num_series(self) -> int:
        """Number of columns that are forecast."""
        return len(self.table.columns)

    @property
    def num_past(self) -> int:
        """Number of covariates that are looked at and not forecast."""
        return len(self.table.past)

    @property
    def num_future(self) -> int:
        """Number of covariates that are known ahead."""
        return len(self.table.future)

    @property
    def num_static(self) -> int:
        """Number of values that belong to each group."""
        return 0 if self.table.static is None else self.table.static.shape[1]

    def windows(self, part: Literal["train", "val", "test"]) -> Windows:
        """Return the standardised windows of one part.

        Raises:
            UserError: the part has no room for a window; the message tells how many rows are needed in all.
        """
        start = {"train": np.zeros_like(self.borders.train), "val": self.borders.train, "test": self.borders.val}[part]
        stop = getattr(self.borders, part)
        first = np.maximum(start, self.input_size - self.padding)
        counts = np.maximum(0, stop - self.horizon - first + 1)
        if not counts.any():
            longest = int(np.argmax(self.table.lengths))
            raise UserError(
                f"the table is too short for the {part} part",
                expected=f"input_size {self.input_size} + horizon {self.horizon} rows in it",
                found=f"{self.table.lengths[longest]} rows in all, {(stop - start)[longest]} in the {part} part",
                hint="give more rows, or lower the horizon or the input size",
            )
        return Windows(self.panel, input_size=self.input_size, horizon=self.horizon, first=first, counts=counts)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training windows."""
        windows = self.windows("train")
        drawn = self.max_windows if self.max_windows and self.max_windows < len(windows) else None
        return self.loader(windows, train=True, collate_fn=as_batch, drawn=drawn)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation window, in order."""
        return self.loader(self.windows("val"), train=False, collate_fn=as_batch)

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test window, in order: none is dropped."""
        return self.loader(self.windows("test"), train=False, collate_fn=as_batch)

    def facts(self) -> dict[str, Any]:
        """What a forecast needs beside the weights."""
        table, scaler = self.table, self.scaler
        # many groups are scaled each by its own history, then and now
        kept = table.values.columns if len(table.ids) == 1 else table.future
        places = [table.values.columns.get_loc(name) for name in kept]
        return {
            "columns": table.columns,
            "past": list(table.past),
            "future": list(table.future),
            "static": None if table.static is None else dict(zip(table.static, scaler.static.T.tolist(), strict=True)),
            "scaler": {
                str(name): {"mean": float(scaler.mean[0, place]), "std": float(scaler.std[0, place])}
                for name, place in zip(kept, places, strict=True)
            },
            "frequency": table.frequency,
            "input_size": self.input_size,
            "horizon": self.horizon,
        }


def _borders(table: Table, split: Split | Borders) -> Borders:
    if isinstance(split, Borders):
        return split
    return ett_borders(table.lengths, table.frequency) if split == "ett" else share_borders(table.lengths, split)


def _padding(train: np.ndarray, input_size: int, horizon: int) -> np.ndarray:
    """Rows to put before each group: short ones among many still show windows whose past is not whole."""
    if len(train) == 1:
        return np.zeros_like(train)
    short = train < 2 * (input_size + horizon)
    return np.where(short, np.maximum(input_size - np.minimum(horizon, train), 0), 0)


class SeriesTable(TableWindows):
    """Windows of a CSV with a date column, wide or long.

    Args:
        csv: the file, or ``national_illness`` for the one that ships; see :func:`tasks.timeseries.reading.read_table`.
        input_size: steps that a forecast looks back.
        horizon: steps to forecast.
        date_column: name of the date column; found where not given.
        id_column: name of the column that tells series apart in long layout; found where not given.
        target: the columns to forecast, which are also the ones looked at; all where not given.
        past: columns to look at that are not known ahead.
        future: columns that are known ahead too.
        static: columns with one value for each series.
        frequency: of the rows; found where not given.
        split: shares of training, validation and test in order of time, or ``"ett"`` for that benchmark's borders.
        batch_size: windows in a batch.
        max_windows: at most as many training windows in an epoch, drawn anew each time; all where not given.
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
        id_column: str | None = None,
        target: str | list[str] | None = None,
        past: list[str] | None = None,
        future: list[str] | None = None,
        static: list[str] | None = None,
        frequency: str | None = None,
        split: Split = (0.7, 0.1, 0.2),
        batch_size: int = 32,
        max_windows: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        table = read_table(
            csv,
            date_column=date_column,
            id_column=id_column,
            target=target,
            past=past or (),
            future=future or (),
            static=static or (),
            frequency=frequency,
        )
        super().__init__(
            table,
            input_size=input_size,
            horizon=horizon,
            split=split,
            batch_size=batch_size,
            max_windows=max_windows,
            num_workers=num_workers,
            seed=seed,
        )
