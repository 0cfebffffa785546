"""From a table to a forecast that was compared first: choose on validation, judge on test, refit, forecast."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gated.errors import UserError, did_you_mean
from tasks.timeseries.backtest import Backtest, backtest
from tasks.timeseries.conformal import ENOUGH, Intervals
from tasks.timeseries.methods import Mean, Method, Origins, simple_methods, statistical_methods
from tasks.timeseries.methods.network import Network, trainable
from tasks.timeseries.methods.statistical import Statistical, cost, weight
from tasks.timeseries.panel import require_ahead
from tasks.timeseries.plan import Plan, plan
from tasks.timeseries.recipe import Recipe
from tasks.timeseries.request import ends
from tasks.timeseries.table import Table

Progress = Callable[[str], None]
_WANTED_FITTED = 150_000  # values that statistical fits should read, counted as AutoETS takes them: a minute or two
_MOST_FITTED = 400_000  # and may, where a table has so many series
_LEAST_ORIGINS = ENOUGH


@dataclass(frozen=True)
class Study:
    """Methods compared on one table.

    Attributes:
        backtest: what each forecast for the rows held out.
        chosen: the method that forecasts: the winner on validation, or the one that was asked for.
        errors: the chosen method alone, from more origins where it can take them: intervals need more errors than a
            comparison.
    """

    backtest: Backtest
    chosen: str
    errors: Backtest

    @property
    def table(self) -> Table:
        """The series."""
        return self.backtest.table

    def intervals(self, levels: Sequence[float]) -> Intervals:
        """Return intervals around the chosen method, calibrated on the rows held out."""
        return Intervals.of(self.errors, self.chosen, levels)

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

    @property
    def date_name(self) -> str:
        """The column of dates in :meth:`frame`; where they came as an index, a name that no series has."""
        name = self.table.layout.date_column or "date"
        while name in self.columns:
            name += "_"
        return name

    def frame(self, *, names: dict[str, str] | None = None) -> pd.DataFrame:
        """Return a row for each step of each group: the date column, the id column in long layout, the series.

        Intervals stand beside their series as neuralforecast names them, ``sold-lo-90`` and ``sold-hi-90``.

        Args:
            names: other names for the columns of the series.
        """
        table, (groups, horizon, _) = self.table, self.middle.shape
        layout = table.layout
        dates = [table.future_dates(horizon, group) for group in range(groups)]
        columns: dict[str, object] = {self.date_name: np.concatenate([d.to_numpy() for d in dates])}
        if len(dates) == 1 or isinstance(table.values.index, pd.DatetimeIndex):
            columns[self.date_name] = dates[0].append(dates[1:])
        if layout.id_column is not None:
            columns = {layout.id_column: np.repeat(np.array(table.ids, dtype=object), horizon), **columns}
        for place, name in enumerate(self.columns):
            shown = (names or {}).get(name, name)
            columns[shown] = self.middle[..., place].ravel()
            levels = sorted(self.bounds)
            for level, pair in zip(levels, ends(shown, levels), strict=True):
                columns |= {end: bound[..., place].ravel() for end, bound in zip(pair, self.bounds[level], strict=True)}
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
    planned = plan(table, horizon) if held_out is None else held_out
    held_out, statistical, notes = _affordable(
        table, planned, *statistical_methods(progress=bar), thin=held_out is None
    )
    methods: list[Method] = [*simple_methods(table, recipe.input_size), *statistical]
    if len(statistical) > 1:
        methods.append(Mean(statistical))
    if trainable(table, horizon, held_out.borders.train, recipe):
        network = Network(recipe, progress=bar)
        methods += [network, Mean([network, *statistical])] if statistical else [network]
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
    chosen = model or result.choice
    return Study(result, chosen, _finer(result, chosen, planned))


def _finer(result: Backtest, chosen: str, planned: Plan) -> Backtest:
    """Let the chosen method forecast from all origins that were planned, if it doesn't take too long."""
    method = result.methods[chosen]
    values = cost(result.table, planned.val) + cost(result.table, planned.test)
    if result.plan is planned or values * weight(method) > _WANTED_FITTED:
        return result
    return backtest(result.table, planned.horizon, [method], plan=planned, metric=result.metric, fitted=True)


def _affordable(
    table: Table, planned: Plan, statistical: Sequence[Statistical], notes: tuple[str, ...], *, thin: bool
) -> tuple[Plan, Sequence[Statistical], tuple[str, ...]]:
    """Leave out the slowest of the methods that are fitted anew at each origin until the others don't take too long.

    With ``thin`` they get fewer origins first.
    """
    values = cost(table, planned.val) + cost(table, planned.test)
    for count in range(len(statistical), 0, -1):
        able, left_out = statistical[:count], statistical[count:]
        share = _WANTED_FITTED / (values * sum(map(weight, able)))
        held_out = planned
        if thin and share < 1:
            origins = max(_LEAST_ORIGINS, int(len(planned.test.row) * share))
            held_out = plan(table, planned.horizon, max_origins=origins)
        if (cost(table, held_out.val) + cost(table, held_out.test)) * sum(map(weight, able)) <= _MOST_FITTED:
            return held_out, able, (*notes, *_too_slow(left_out))
    return planned, [], (*notes, *_too_slow(statistical))


def _too_slow(methods: Sequence[Statistical]) -> list[str]:
    """Return the note on what was left out, if anything was."""
    if not methods:
        return []
    *names, last = (method.name for method in methods)
    which = f"{', '.join(names)} and {last} were" if names else f"{last} was"
    return [f"{which} not tried, to save time: there are too many series"]
