"""The honest comparison: every method forecasts the same held-out rows, and validation alone decides.

>>> result = backtest(table, horizon, [*simple_methods(table), *statistical_methods()[0]])   # doctest: +SKIP
>>> print(result.leaderboard(), result.verdict())                                            # doctest: +SKIP
>>> result.choice                                                                            # doctest: +SKIP
'linear'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from tasks.timeseries.methods import Mean, Method, Origins, truth_of
from tasks.timeseries.metrics import METRICS, errors
from tasks.timeseries.plan import Plan
from tasks.timeseries.plan import plan as default_plan
from tasks.timeseries.table import Table

Part: TypeAlias = Literal["val", "test"]
MODEL = "Gateformer"


@dataclass(frozen=True)
class Backtest:
    """What each method forecast for the held-out rows, and what came.

    Attributes:
        table: the series.
        plan: what was held out.
        methods: by name, fitted on the training rows.
        forecasts: part -> name -> ``[K, H, N]`` in the units of the table.
        truth: part -> ``[K, H, N]``, NaN where there is none.
        metric: of :data:`METRICS`, decides on validation. The mean absolute error on standardised values is the
            default: every series counts alike whatever its unit, single peaks don't decide, it is defined for every
            series, and it is one of the two numbers that forecasting papers compare.
        notes: what the reader of the leaderboard should know, a sentence each.
    """

    table: Table
    plan: Plan
    methods: Mapping[str, Method]
    forecasts: Mapping[Part, Mapping[str, np.ndarray]]
    truth: Mapping[Part, np.ndarray]
    metric: str = "MAE"
    notes: tuple[str, ...] = ()
    _errors: dict[tuple[Part, str], pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def choice(self) -> str:
        """The name of the method that won on validation; of equals the one that was named first."""
        return str(self._overall("val")[self.metric].idxmin())

    def errors(self, part: Part, name: str) -> pd.DataFrame:
        """Return the errors of one method: a row for each series, a column for each of :data:`METRICS`."""
        if (part, name) not in self._errors:
            origins = getattr(self.plan, part)
            known = {"val": self.plan.borders.train, "test": self.plan.borders.val}[part]
            self._errors[part, name] = errors(
                self.table, origins, self.forecasts[part][name], self.truth[part], self.plan.borders.train, known
            )
        return self._errors[part, name]

    def leaderboard(self) -> pd.DataFrame:
        """Return the mean errors of every method, the best on validation first; columns ``(part, metric)``."""
        board = pd.concat({part: self._overall(part) for part in ("val", "test")}, axis=1)
        return board.sort_values(("val", self.metric), kind="stable")

    def verdict(self, model: str = MODEL) -> str:
        """Return one sentence: what won on validation, how it did on test rows, and whether the model is worth it."""
        test, choice, metric = self._overall("test")[self.metric], self.choice, self.metric
        own, others = f"{test[choice]:.4f}", test.drop(choice)
        sentence = f"{choice} won on validation; on the test rows its {metric} is {own}"
        if others.empty:
            return sentence + "."
        best = str(others.idxmin())
        lowest = f"{others[best]:.4f}"
        if lowest == own:
            return f"{sentence}, that of {best} the same to four places."
        if test[choice] > others[best]:
            return f"{sentence}, and that of {best} is lower: {lowest}."
        if model in others:
            return f"{sentence}, the lowest; {model} has more ({others[model]:.4f})."
        return f"{sentence}, the lowest; next is {best} ({lowest})."

    def to_frame(self, part: Part = "test") -> pd.DataFrame:
        """Return every forecast, in the layout of neuralforecast's ``cross_validation``.

        Columns: ``unique_id, ds, cutoff, y`` and one for each method; ``cutoff`` is the last date that was seen.
        """
        table, origins, horizon = self.table, getattr(self.plan, part), self.plan.horizon
        at_KH = (table.offsets[origins.group] + origins.row)[:, None] + np.arange(horizon)
        count = len(table.columns)
        cutoff = table.values.index[np.repeat(at_KH[:, 0] - 1, horizon)]
        frame = pd.DataFrame(
            {
                "unique_id": np.tile(np.array(series_names(table), dtype=object)[origins.group], (1, horizon)).ravel(),
                "ds": table.values.index[at_KH.ravel()].repeat(count),
                "cutoff": cutoff.repeat(count),
                "y": self.truth[part].ravel(),
            }
            | {name: ahead.ravel() for name, ahead in self.forecasts[part].items()}
        )
        return frame.sort_values(["unique_id", "cutoff", "ds"], kind="stable", ignore_index=True)

    def _overall(self, part: Part) -> pd.DataFrame:
        """Return the mean over series, each counting alike; methods in the order they were named."""
        return pd.DataFrame({name: self.errors(part, name).mean() for name in self.methods}).T[list(METRICS)]


def backtest(
    table: Table,
    horizon: int,
    methods: Sequence[Method],
    *,
    plan: Plan | None = None,
    metric: str = "MAE",
    notes: Sequence[str] = (),
    progress: Callable[[str], None] = lambda name: None,
    fitted: bool = False,
) -> Backtest:
    """Fit every method on the training rows and let it forecast the validation and the test rows.

    Args:
        table: the series.
        horizon: steps to forecast.
        methods: the candidates, the simplest first. The members of a :class:`Mean` that are candidates themselves are
            not fitted again.
        plan: what to hold out; :func:`tasks.timeseries.plan.plan` where not given.
        metric: what decides on validation.
        notes: to hand on with the leaderboard.
        progress: is told the name of the method that is next.
        fitted: the methods have been fitted to the training rows of this plan.

    Raises:
        UserError: the table is too short.
    """
    plan = default_plan(table, horizon) if plan is None else plan
    forecasts: dict[Part, dict[str, np.ndarray]] = {"val": {}, "test": {}}
    parts: dict[Part, Origins] = {"val": plan.val, "test": plan.test}
    for method in methods:
        progress(method.name)
        done = isinstance(method, Mean) and all(member.name in forecasts["test"] for member in method.members)
        if not done and not fitted:
            method.fit(table, horizon, plan.borders.train)
        for part, origins in parts.items():
            forecasts[part][method.name] = (
                np.mean([forecasts[part][member.name] for member in method.members], axis=0)
                if done
                else method.predict(table, horizon, origins)
            )
    truth = {part: truth_of(table, origins, horizon) for part, origins in parts.items()}
    return Backtest(table, plan, {m.name: m for m in methods}, forecasts, truth, metric, tuple(notes))


def series_names(table: Table) -> list[list[str]]:
    """Return a name for each series, ``[G][N]``: the column, the group, or both where both are needed."""
    columns = table.columns
    if table.ids == ("",):
        return [columns]
    return [[name] if len(columns) == 1 else [f"{name}/{column}" for column in columns] for name in table.ids]
