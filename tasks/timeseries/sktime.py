"""Gateformer as a forecaster of sktime: it takes part in its pipelines, tuning and evaluation.

It needs the optional package sktime: ``pip install 'gated[sktime]'``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sktime.datatypes import update_data
from sktime.forecasting.base import BaseForecaster, ForecastingHorizon

from gated.errors import UserError
from tasks.timeseries.backtest import Backtest, backtest
from tasks.timeseries.conformal import Intervals
from tasks.timeseries.dates import DateFormat
from tasks.timeseries.methods import Origins
from tasks.timeseries.methods.network import Network, trainable
from tasks.timeseries.plan import plan
from tasks.timeseries.reading.frequency import spacing
from tasks.timeseries.recipe import Recipe
from tasks.timeseries.table import Layout, Table


class GateformerForecaster(BaseForecaster):
    """A small Gateformer for one or many series, with what is known ahead as ``X``.

    All columns of ``y`` are forecast by one model that lets them hear of each other. ``X`` is known for the future too:
    :meth:`predict` takes its values at the steps of the horizon; a step that is left out repeats the one before it.
    Missing values of ``y`` and ``X`` are no targets. Integers as index count steps of one. :meth:`update` without
    ``update_params`` moves the window on and leaves the weights alone.

    Args:
        input_size: steps to look back; two seasons or two horizons where not given.
        d_model: size of a token, a multiple of 4.
        d_ff: hidden size of the MLPs.
        num_layers: layers over time, and as many over series.
        dropout: everywhere.
        lr: peak learning rate.
        epochs: at most as many passes over the training windows.
        steps: at most as many batches in all.
        calibrate: train once more without the last rows and measure how wide intervals must be. Without it there are
            no intervals, and fitting takes half the time.
        random_state: of weights, dropout and order.

    Attributes:
        network_: the trained :class:`~tasks.timeseries.methods.network.Network`.
        backtest_: forecasts of rows that were held out, for the intervals; None without ``calibrate`` and for series
            that are too short.

    Example:
        >>> from sktime.datasets import load_airline
        >>> from tasks.timeseries.sktime import GateformerForecaster
        >>> forecaster = GateformerForecaster(steps=50).fit(load_airline(), fh=[1, 2, 12])
        >>> forecaster.predict_interval(coverage=[0.8, 0.95]).shape
        (3, 4)
    """

    _tags: ClassVar[dict[str, Any]] = {
        "authors": "the authors of gated",
        "maintainers": "the authors of gated",
        "y_inner_mtype": "pd.DataFrame",
        "X_inner_mtype": "pd.DataFrame",
        "capability:multivariate": True,
        "capability:exogenous": True,
        "capability:categorical_in_X": False,
        "capability:missing_values": True,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:update": True,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "requires-fh-in-fit": True,
    }
    # what was seen is kept here, once; sktime leaves its own places for it undefined then
    _config: ClassVar[dict[str, Any]] = {"remember_data": False}
    _y = _X = None

    def __init__(
        self,
        input_size: int | None = Recipe.input_size,
        d_model: int = Recipe.d_model,
        d_ff: int = Recipe.d_ff,
        num_layers: int = Recipe.num_layers,
        dropout: float = Recipe.dropout,
        lr: float = Recipe.lr,
        epochs: int = Recipe.epochs,
        steps: int = Recipe.steps,
        calibrate: bool = True,
        random_state: int | np.random.RandomState | None = Recipe.seed,
    ) -> None:
        self.input_size = input_size
        self.d_model = d_model
        self.d_ff = d_ff
        self.num_layers = num_layers
        self.dropout = dropout
        self.lr = lr
        self.epochs = epochs
        self.steps = steps
        self.calibrate = calibrate
        self.random_state = random_state
        super().__init__()

    def __dynamic_tags__(self) -> None:
        """Without calibration there are no intervals."""
        self.set_tags(**{"capability:pred_int": bool(self.calibrate)})

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return settings that train in no time, for the checks of sktime."""
        tiny = {"input_size": 4, "d_model": 8, "d_ff": 8, "epochs": 1, "steps": 2}
        return [{**tiny, "calibrate": False}, {**tiny, "num_layers": 2, "random_state": 1}]

    def _fit(self, y: pd.DataFrame, X: pd.DataFrame | None, fh: ForecastingHorizon) -> GateformerForecaster:
        """Train on every row; with ``calibrate`` once more without the last ones."""
        self._seen_y, self._seen_X = y, X
        empty = [name for name, series in y.items() if series.isna().all()]
        if empty:
            raise UserError("a column of y has no value", found=", ".join(map(repr, empty)), hint="leave it out")
        table, self._horizon = self._table(), int(fh.to_indexer(self.cutoff).max()) + 1
        recipe = self._recipe()
        self.network_ = Network(recipe)
        self.network_.fit(table, self._horizon, table.lengths)
        self.backtest_ = _held_out(table, self._horizon, recipe) if self.calibrate else None
        return self

    def _update(
        self, y: pd.DataFrame, X: pd.DataFrame | None = None, update_params: bool = True
    ) -> GateformerForecaster:
        """Add rows to what was seen, and train anew if asked to."""
        self._seen_y = update_data(self._seen_y, y)
        if self._seen_X is not None:
            self._seen_X = update_data(self._seen_X, X)
        return self._fit(self._seen_y, self._seen_X, self._fh) if update_params else self

    def _predict(self, fh: ForecastingHorizon, X: pd.DataFrame | None) -> pd.DataFrame:
        """Return the forecasts, a row for each step of ``fh``."""
        ahead_HN = self._ahead(fh, X)[0]
        index = fh.get_expected_pred_idx(cutoff=self.cutoff)
        return pd.DataFrame(ahead_HN[fh.to_indexer(self.cutoff)], index=index, columns=self._seen_y.columns)

    def _predict_interval(
        self, fh: ForecastingHorizon, X: pd.DataFrame | None, coverage: Sequence[float]
    ) -> pd.DataFrame:
        """Return lower and upper ends, columns ``(series, coverage, end)``, by split-conformal calibration."""
        if self.backtest_ is None:
            raise UserError(
                "the series is too short for prediction intervals",
                expected=f"rows to train on and two more parts of {self._horizon} to judge on",
                found=f"{len(self._seen_y)} rows",
                hint="give a longer history, or lower the horizon or input_size",
            )
        ahead_KHN = self._ahead(fh, X)
        intervals = Intervals.of(self.backtest_, Network.name, [100 * share for share in coverage])
        ends = np.stack(intervals.around(ahead_KHN, Origins(np.array([0]), np.array([0]))))[:, :, 0]
        ends[:, np.array(intervals.levels) == 0] = ahead_KHN  # the median, whatever the errors are
        given = np.argsort(np.argsort(coverage, kind="stable"))
        ends_HNQ2 = ends[:, given].transpose(2, 3, 1, 0)[fh.to_indexer(self.cutoff)]
        return pd.DataFrame(
            ends_HNQ2.reshape(len(ends_HNQ2), -1),
            index=fh.get_expected_pred_idx(cutoff=self.cutoff),
            columns=pd.MultiIndex.from_product([self._seen_y.columns, coverage, ["lower", "upper"]]),
        )

    def _ahead(self, fh: ForecastingHorizon, X: pd.DataFrame | None) -> np.ndarray:
        """Return the forecasts of every step that was trained for, ``[1, H, N]``."""
        places = fh.to_indexer(self.cutoff)
        if places.max() >= self._horizon:
            raise UserError(
                "the forecaster was not fitted to forecast that far",
                expected=f"at most {self._horizon} steps after {self.cutoff[0]}",
                found=f"{places.max() + 1}",
                hint="fit it again with this horizon",
            )
        table = self._table(X, places)
        return self.network_.predict(table, self._horizon, Origins.at_the_end(table))

    def _recipe(self) -> Recipe:
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        names = ("input_size", "d_model", "d_ff", "num_layers", "dropout", "lr", "epochs", "steps")
        return Recipe(**{name: getattr(self, name) for name in names}, seed=int(seed))

    def _table(self, X: pd.DataFrame | None = None, places: Sequence[int] = ()) -> Table:
        """Return what was seen up to the cutoff, and ``X`` for the steps that follow.

        Raises:
            UserError: the index is not regular, or ``X`` is not that of ``fit`` or ends too early.
        """
        y = _stamped(self._seen_y.loc[: self.cutoff[0]])
        axis, frequency = _regular(y.index)
        values = [y.reindex(axis).set_axis([f"y{place}" for place in range(y.shape[1])], axis=1)]
        known = self._seen_X
        future = () if known is None else tuple(f"x{place}" for place in range(known.shape[1]))
        if known is not None:
            values.append(_stamped(known).reindex(axis).set_axis(future, axis=1))
        table = Table(
            pd.concat(values, axis=1).astype(np.float64), frequency, Layout(None, DateFormat("")), future=future
        )
        if len(places) == 0:
            return table
        names = [] if known is None else list(known.columns)
        given = [] if X is None else list(X.columns)
        if set(names) != set(given):
            raise UserError("X in predict must be that of fit", expected=f"columns {names}", found=f"columns {given}")
        if not names:
            return table
        X = _stamped(X[names])
        steps = table.future_dates(self._horizon)
        absent = steps[list(places)].difference(X.index)
        if len(absent):
            raise UserError("X has no row for a step of the horizon", found=f"none for {absent[0]}")
        ahead = X.reindex(steps).to_numpy(dtype=np.float64)
        return Table(table.values, frequency, table.layout, future=future, ahead=ahead[None])


def _held_out(table: Table, horizon: int, recipe: Recipe) -> Backtest | None:
    """Return forecasts of rows that were held out; None where there are too few."""
    try:
        held_out = plan(table, horizon)
    except UserError:
        return None
    if not trainable(table, horizon, held_out.borders.train, recipe):
        return None
    return backtest(table, horizon, [Network(recipe)], plan=held_out)


def _stamped(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the dates at which its periods begin, if it has periods."""
    return frame.to_timestamp() if isinstance(frame.index, pd.PeriodIndex) else frame


def _regular(index: pd.Index) -> tuple[pd.Index, str | int]:
    """Return an index without missing steps, and its frequency."""
    if pd.api.types.is_integer_dtype(index):
        return pd.RangeIndex(index[0], index[-1] + 1), 1
    frequency = None
    if isinstance(index, pd.DatetimeIndex):
        frequency = spacing(index) if index.freq is None else index.freqstr
    if frequency is None:
        raise UserError(
            "the index of y is not regular",
            expected="integers, or dates or periods of one frequency",
            found=f"{type(index).__name__} from {index[0]} to {index[-1]}",
            hint="y.asfreq('D') or the like adds the missing rows",
        )
    return pd.date_range(index[0], index[-1], freq=frequency), frequency
