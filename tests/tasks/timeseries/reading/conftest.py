from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.timeseries.reading import read_table
from tasks.timeseries.table import Table


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Table]:
    """Write text or lines to a file and read it."""

    def run(text: str | bytes | list[str], **options: Any) -> Table:
        text = "\n".join(text) + "\n" if isinstance(text, list) else text
        path = tmp_path / "table.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_table(path, **options)

    return run


@pytest.fixture
def days() -> Callable[..., list[str]]:
    """Dates as text."""

    def run(count: int = 10, start: str = "2024-01-29", freq: str = "D", form: str = "%Y-%m-%d") -> list[str]:
        return list(pd.date_range(start, periods=count, freq=freq).strftime(form))

    return run
