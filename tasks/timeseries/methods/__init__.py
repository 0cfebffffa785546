"""Everything that forecasts, behind one interface: ``fit`` on the first rows, ``predict`` from any origin."""

from tasks.timeseries.methods.base import Method, Origins, default_input_size, season_length, seasonal_scale, truth_of
from tasks.timeseries.methods.linear import Linear
from tasks.timeseries.methods.mean import Mean
from tasks.timeseries.methods.naive import SeasonalNaive
from tasks.timeseries.methods.statistical import CES, AutoETS, Theta, statistical_methods
from tasks.timeseries.table import Table

__all__ = [
    "CES",
    "AutoETS",
    "Linear",
    "Mean",
    "Method",
    "Origins",
    "SeasonalNaive",
    "Theta",
    "default_input_size",
    "season_length",
    "seasonal_scale",
    "simple_methods",
    "statistical_methods",
    "truth_of",
]


def simple_methods(table: Table, input_size: int | None = None) -> list[Method]:
    """Return the methods that need nothing but numpy: repeat-last, seasonal-naive where there is a season, linear."""
    season = season_length(table)
    seasonal = [SeasonalNaive(season)] if 1 < season < table.lengths.max() else []
    return [SeasonalNaive(1), *seasonal, Linear(input_size)]
