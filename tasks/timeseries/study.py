"""From a table to a forecast that was compared first: choose on validation, judge on test, refit, forecast."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gated.errors import UserError, did_you_mean
from tasks.timeseries.backtest import Backtest, backtest
from tasks.timeseries.conformal import Intervals
from tasks.timeseries.methods import Mean, Method, Origins, simple_methods, statistical_methods
from tasks.timeseries.methods.network import Network, trainable
from tasks.timeseries.methods.statistical import cost
from tasks.timeseries.panel import require_ahead
from tasks.timeseries.plan import Plan, plan
from tasks.timeseries.recipe import Recipe
from tasks.timeseries.table import Table

Progress = Callable[[str], None]
_MOST_FITTED = 150_000  # values that statistical fits may read: about a minute
_LEAST_ORIGINS = 30


@dataclass(frozen=True)
class Study:
    """Methods compared on one table.

    Attributes:
        backtest: what each forecast for the rows held out.
        chosen: the method that forecasts: the winner on validation, or the one that was asked for.
    """

    backtest: Backtest
    chosen: str

    @property
    def table(self) -> Table:
        """The series."""
        return self.backtest.table

    def intervals(self, levels: Sequence[float]) -> Intervals:
        """Return intervals around the chosen method, calibrated on the rows held out."""
        return Intervals.of(self.backtest, self.chosen, levels)

    def future(self, levels: Sequence[float], *, progress: Progress = lambda text: None) -> Forecast:
        """Fit the chosen method on every row and forecast the rows that follow."""
        table, horizon = self.table, self.backtest.plan.horizon
        method = copy.copy(self.backtest.methods[self.chosen])  # the fitted one still stands for the comparison
        progress(f"{self.chosen}, on all rows")
        method.fit(table, horizon, table.lengths)
        ends = Origins.at_the_end(table)
        middle = method.predict(table, horizon, ends)
        bounds: dict[float, tuple[np.ndarray, np.ndarray]] = {}
        if levels:
            intervals = self.intervals(levels)
            bounds = dict(zip(intervals.levels, zip(*intervals.around(middle, ends), strict=True), strict=True))
        return Forecast(table, self.chosen, middle, bounds, tuple(table.columns))


@dataclass(frozen=True)
class Forecast:
    """The rows that follow a table.

    Attributes:
        table: what was known.
        method: the name of what forecast it.
        middle: ``[G, H, N]``.
        bounds: level in percent -> lower and upper ends, ``[G, H, N]`` each.
        columns: names of the ``N`` series.
    """

    table: Table
    method: str
    middle: np.ndarray
    bounds: dict[float, tuple[np.ndarray, np.ndarray]]
    columns: tuple[str, ...]

    def frame(self, *, names: dict[str, str] | None = None) -> pd.DataFrame:
        """Return a row for each step of each group: the date column, the id column in long layout, the series.

        Intervals stand beside their series as neuralforecast names them, ``sold-lo-90`` and ``sold-hi-90``.

        Args:
            names: other names for the columns of the series.
        """
        table, (groups, horizon, _) = self.table, self.middle.shape
        layout = table.layout
        dates = [table.future_dates(horizon, group) for group in range(groups)]
        columns: dict[str, object] = {layout.date_column or "date": np.concatenate([d.to_numpy() for d in dates])}
        if len(dates) == 1 or isinstance(table.values.index, pd.DatetimeIndex):
            columns[layout.date_column or "date"] = dates[0].append(dates[1:])
        if layout.id_column is not None:
            columns = {layout.id_column: np.repeat(np.array(table.ids, dtype=object), horizon), **columns}
        for place, name in enumerate(self.columns):
            shown = (names or {}).get(name, name)
            columns[shown] = self.middle[..., place].ravel()
            for level, (low, high) in sorted(self.bounds.items()):
                columns[f"{shown}-lo-{level:g}"] = low[..., place].ravel()
                columns[f"{shown}-hi-{level:g}"] = high[..., place].ravel()
        return pd.DataFrame(columns)


def compare(
    table: Table,
    horizon: int,
    *,
    recipe: Recipe | None = None,
    model: str | None = None,
    held_out: Plan | None = None,
    bar: bool = False,
    progress: Progress = lambda text: None,
) -> Study:
    """Let every method that can serve forecast held-out rows.

    Args:
        table: the series.
        horizon: steps to forecast.
        recipe: of the Gateformer.
        model: the method to forecast with, whatever the comparison says; the winner on validation where not given.
        held_out: what to judge on; see :func:`tasks.timeseries.plan.plan` where not given.
        bar: draw a bar while the Gateformer is trained.
        progress: is told what is done next.

    Raises:
        UserError: the table is too short, or there is no such method.
    """
    require_ahead(table, horizon)
    recipe = recipe or Recipe()
    statistical, notes = statistical_methods()
    held_out, affordable = _held_out(table, horizon, held_out, thin=bool(statistical))
    if not affordable:
        statistical, notes = [], ("AutoETS and Theta were not tried: they would take too long for so many series",)
    methods: list[Method] = [*simple_methods(table, recipe.input_size), *statistical]
    if len(statistical) > 1:
        methods.append(Mean(statistical))
    if trainable(table, horizon, held_out.borders.train, recipe):
        methods.append(Network(recipe, progress=bar))
    else:
        notes = (*notes, "Gateformer was not tried: there are too few rows to train it")
    names = [method.name for method in methods]
    if model is not None and model not in names:
        raise UserError(
            f"there is no method {model!r} for this table",
            expected=", ".join(map(repr, names)),
            hint=did_you_mean(model, names),
        )
    result = backtest(table, horizon, methods, plan=held_out, notes=notes, progress=progress)
    return Study(result, model or result.choice)


def _held_out(table: Table, horizon: int, held_out: Plan | None, *, thin: bool) -> tuple[Plan, bool]:
    """Return a plan, with fewer origins where methods that are fitted at each would take too long, and if they can."""
    planned = plan(table, horizon) if held_out is None else held_out
    values = cost(table, planned.val) + cost(table, planned.test)
    if not thin or values <= _MOST_FITTED:
        return planned, True
    if held_out is None:
        fewer = max(_LEAST_ORIGINS, int(len(planned.test.row) * _MOST_FITTED / values))
        thinner = plan(table, horizon, max_origins=fewer)
        if cost(table, thinner.val) + cost(table, thinner.test) <= 2 * _MOST_FITTED:
            return thinner, True
    return planned, False
