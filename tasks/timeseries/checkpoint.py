"""Forecasting with a checkpoint of ``gated timeseries fit`` instead of training anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gated.engine.checkpoint import load
from gated.errors import UserError, did_you_mean
from tasks.timeseries.methods import Origins
from tasks.timeseries.methods.network import predict_at
from tasks.timeseries.panel import Scaler, require_ahead
from tasks.timeseries.study import Forecast
from tasks.timeseries.table import Table

_FACTS = ("columns", "past", "future", "static", "scaler", "frequency", "input_size", "horizon")


def load_forecaster(checkpoint: str | Path) -> nn.Module:
    """Load a ``.ckpt`` or an exported folder and check that it forecasts.

    Raises:
        UserError: it was not trained on a table of series.
    """
    net = load(checkpoint)
    if any(name not in net.facts for name in _FACTS):
        raise UserError(
            "this checkpoint was not trained on a table of series",
            expected="a checkpoint of `gated timeseries fit`",
            found=f"{type(net).__name__} with facts {sorted(net.facts)}",
        )
    return net


def columns_of(net: nn.Module) -> dict[str, Any]:
    """Return the options of ``read_table`` that choose the columns the model was trained on."""
    facts = net.facts
    return {
        "target": facts["columns"],
        "past": facts["past"],
        "future": facts["future"],
        "static": list(facts["static"] or ()),
    }


def forecast_with(net: nn.Module, table: Table, horizon: int, target: str | Sequence[str] | None = None) -> Forecast:
    """Forecast with a trained model.

    Args:
        net: of :func:`load_forecaster`.
        table: with its columns, see :func:`columns_of`.
        horizon: steps to forecast.
        target: the columns wanted; all that it forecasts where not given.

    Raises:
        UserError: another frequency, a longer horizon than it was trained for, too few rows, or an unknown column.
    """
    facts = net.facts
    if table.frequency != facts["frequency"]:
        raise UserError(
            "the checkpoint was trained on data of another frequency",
            expected=f"a row every {facts['frequency']!r}",
            found=repr(table.frequency),
            hint="resample the table, or leave --ckpt out to train on it",
        )
    if not 1 <= horizon <= facts["horizon"]:
        raise UserError(
            "the checkpoint can't forecast that far" if horizon > 0 else "the horizon must be positive",
            expected=f"a horizon of 1 to {facts['horizon']}",
            found=str(horizon),
            hint="lower --horizon, or leave --ckpt out to train for it",
        )
    if table.lengths.min() < facts["input_size"]:
        raise UserError(
            "the table is too short for the checkpoint",
            expected=f"at least {facts['input_size']} rows",
            found=f"{table.lengths.min()}",
        )
    require_ahead(table, facts["horizon"])
    wanted = [target] if isinstance(target, str) else list(target or table.columns)
    for name in wanted:
        if name not in table.columns:
            raise UserError(f"the checkpoint does not forecast {name!r}", hint=did_you_mean(name, table.columns))
    middle = predict_at(net, table, _scaler(facts, table), horizon, Origins.at_the_end(table))
    places = [table.columns.index(name) for name in wanted]
    return Forecast(table, type(net).__name__, middle[..., places], {}, tuple(wanted))


def _scaler(facts: dict[str, Any], table: Table) -> Scaler:
    """The scales of training where they are kept, else those of the table."""
    mean, std, _ = Scaler.fit(table, table.lengths)
    for name, scale in facts["scaler"].items():
        place = table.values.columns.get_loc(name)
        mean[:, place], std[:, place] = scale["mean"], scale["std"]
    static = None if facts["static"] is None else np.array(list(facts["static"].values()), dtype=np.float64).T
    return Scaler(mean, std, static)
