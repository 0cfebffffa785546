"""Training a model on one table and finding out whether it is any good: the last rows are held out."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch

from gated.errors import UserError
from tasks.timeseries.baselines import LinearMap, Predictor, Score, SeasonalNaive, evaluate
from tasks.timeseries.data import TableWindows
from tasks.timeseries.dates import season_of
from tasks.timeseries.models import Gateformer
from tasks.timeseries.table import Table
from tasks.timeseries.training import fit

MODEL, LINEAR, LAST = "Gateformer", "linear model", "repeat-last"
_MAX_INPUT = 512
_MIN_INPUT = 8
_MIN_WINDOWS = 8


@dataclass(frozen=True)
class Recipe:
    """How the small model is built and trained; lightly tuned on the shipped influenza series.

    Attributes:
        input_size: steps to look back; two seasons where not given.
        d_model: size of a token.
        d_ff: hidden size of the MLPs.
        num_layers: layers over time, and as many over series.
        dropout: everywhere.
        lr: peak learning rate.
        epochs: at most as many.
        patience: epochs without a gain after which training stops.
        seed: of weights, dropout and order.
    """

    input_size: int | None = None
    d_model: int = 64
    d_ff: int = 64
    num_layers: int = 1
    dropout: float = 0.2
    lr: float = 5e-4
    epochs: int = 30
    patience: int = 6
    seed: int = 0


@dataclass(frozen=True)
class Study:
    """A trained model with what it was trained on and how it compares.

    Attributes:
        net: the model, in eval mode.
        data: its data module; the test part was held out.
        predictors: the model and the baselines by name.
        scores: errors on the held-out windows, on standardised values, lowest squared error first.
    """

    net: Gateformer
    data: TableWindows
    predictors: dict[str, Predictor]
    scores: dict[str, Score]

    def future(self) -> pd.DataFrame:
        """Return the forecast of the rows that follow the table."""
        return roll(self.net, self.data, len(self.data.table.values))

    def hindcast(self, name: str = MODEL) -> pd.DataFrame:
        """Return what a predictor would have said for the last rows of the table, not knowing them."""
        return roll(self.predictors[name], self.data, len(self.data.table.values) - self.data.horizon)

    def verdict(self) -> str:
        """Return one sentence: is the model better than the simple forecasts?"""
        own = self.scores[MODEL].mse
        rivals = [name for name in self.scores if name not in (MODEL, LAST)] or [LAST]
        beaten = [name for name in rivals if own < self.scores[name].mse]
        better = [name for name in rivals if name not in beaten]
        best = min(rivals, key=lambda name: self.scores[name].mse)
        if not better:
            gain = 1 - own / self.scores[best].mse
            return f"{MODEL} beats {_and(beaten)}: its squared error is {gain:.0%} below that of the {best}."
        tail = f", though it beats {_and(beaten)}" if beaten else ""
        return f"{MODEL} does not beat {_and(better)}{tail}: for this table prefer the {best}."


def train_on(data: TableWindows, recipe: Recipe, *, progress: bool = True) -> Study:
    """Train a Gateformer on ``data`` and measure it beside the baselines on its test part."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        net = Gateformer(
            data.input_size,
            data.horizon,
            d_model=recipe.d_model,
            d_ff=recipe.d_ff,
            num_layers=recipe.num_layers,
            num_heads=4,
            patch_size=min(8, data.input_size),
            stride=min(8, data.input_size),
            dropout=recipe.dropout,
        )
    options = {
        "epochs": recipe.epochs,
        "patience": recipe.patience,
        "seed": recipe.seed,
        "lr": recipe.lr,
        "loss": "mae",
    }
    fit(net, data, progress=progress, **options)
    windows = data.windows("test")
    predictors: dict[str, Predictor] = {MODEL: net, LINEAR: LinearMap.fit(data.windows("train"))}
    season = season_of(data.table.frequency)
    if 1 < season <= data.borders.val:
        predictors[f"seasonal-naive ({season})"] = SeasonalNaive(season, data.horizon)
    predictors[LAST] = SeasonalNaive(1, data.horizon)
    scores = evaluate(predictors, windows)
    return Study(net, data, predictors, dict(sorted(scores.items(), key=lambda item: item[1].mse)))


def plan(table: Table, horizon: int, recipe: Recipe) -> TableWindows:
    """Hold out the last tenth of the rows for the comparison and the tenth before for early stopping.

    Either tail is at least one horizon long. The look-back is two seasons or two horizons, as far as the rows go.

    Raises:
        UserError: there are too few rows; the message says how many it takes.
    """
    if horizon < 1:
        raise UserError("the horizon must be positive", expected=">= 1", found=str(horizon))
    rows = len(table.values)
    tail = max(horizon, rows // 10)
    room = rows - 2 * tail - horizon - _MIN_WINDOWS + 1
    input_size = recipe.input_size
    if input_size is None:
        wanted = max(2 * season_of(table.frequency), 2 * horizon, 4 * _MIN_INPUT)
        input_size = max(_MIN_INPUT, min(wanted, _MAX_INPUT, room * 2 // 3))
    if input_size < 1 or room < input_size:
        needed = input_size + 3 * horizon + _MIN_WINDOWS - 1
        while needed - 2 * max(horizon, needed // 10) - horizon - _MIN_WINDOWS + 1 < input_size:
            needed += 1
        raise UserError(
            "the table is too short for this horizon",
            expected=f"at least {needed} rows to train, check and test a forecast of {horizon} from {input_size} steps",
            found=f"{rows} rows",
            hint="give a longer history or ask for fewer steps",
        )
    shares = ((rows - 2 * tail) / rows, tail / rows, tail / rows)
    return TableWindows(table, input_size=input_size, horizon=horizon, split=shares, seed=recipe.seed)


def roll(predictor: Predictor, data: TableWindows, row: int) -> pd.DataFrame:
    """Return the forecast that starts at ``row``, made from the rows before it, in the units of the table."""
    table, scaler = data.table, data.scaler
    past = scaler.scale(table.values.to_numpy()[row - predictor.input_size : row])
    with torch.no_grad():
        ahead = predictor(past[None])[0]
    known = table.values.index[row : row + data.horizon]
    dates = known if len(known) == data.horizon else table.future_dates(data.horizon)
    return pd.DataFrame(scaler.unscale(ahead), index=dates, columns=table.columns)


def _and(names: list[str]) -> str:
    return " and ".join(f"the {name}" for name in names)
