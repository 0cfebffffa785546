from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest


def weekly_sales(rows: int = 160, seed: int = 0) -> pd.DataFrame:
    """Two daily series with a strong week, some noise."""
    day = np.arange(rows)
    noise = np.random.default_rng(seed).normal(size=(rows, 2))
    return pd.DataFrame(
        {
            "day": pd.date_range("2024-01-29", periods=rows, freq="D"),
            "sold": 20 + 5 * np.sin(2 * np.pi * day / 7) + 0.3 * noise[:, 0],
            "visits": 300 + 0.5 * day + 40 * np.cos(2 * np.pi * day / 7) + 2 * noise[:, 1],
        }
    )


@pytest.fixture
def sales() -> pd.DataFrame:
    return weekly_sales()


@pytest.fixture
def sales_csv(tmp_path: Path, sales: pd.DataFrame) -> Path:
    path = tmp_path / "sales.csv"
    sales.to_csv(path, index=False, float_format="%.2f")
    return path
