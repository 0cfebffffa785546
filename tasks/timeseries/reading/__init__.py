"""Reading any table of series, and writing a forecast back in its layout."""

from __future__ import annotations

from tasks.timeseries.reading.read import from_frame, read_table
from tasks.timeseries.reading.write import write_table

__all__ = ["from_frame", "read_table", "write_table"]
