"""Training steps a second beside a plain composition of torch's own encoder, at the official ETTh1-96 setting.

    python -m benchmarks.timeseries.speed --csv ETTh1.csv [--rounds 9] [--steps 100]

The peer is what one writes first (``plain.py``), in the loop of the field's benchmark code: DataLoader, Adam, and the
loss read off after each step. Ours is what ``gated timeseries fit -c timeseries/etth1_96`` runs: the Lightning trainer,
the data module, the model of the config. Same sizes, batch, dropout and loss, one thread, one process; the contestants
take turns, and each has run (and compiled) before the clock does. The median over rounds is written to
``benchmarks/results/timeseries_speed.csv``.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.timeseries import render
from benchmarks.timeseries.plain import PlainGateformer, PlainWindows
from gated.configs import find_config
from gated.core.nn.buildable import Buildable
from gated.engine.quiet import quiet
from gated.registry import build
from tasks.timeseries.data import SeriesTable
from tasks.timeseries.forecast import Forecaster

RESULTS = Path(__file__).parents[1] / "results" / "timeseries_speed.csv"
WARM_UP = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", required=True, help="ETTh1.csv")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=100, help="optimiser steps a round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load(find_config("timeseries/etth1_96").read_text())
    data = SeriesTable(**{**config["data"]["init_args"], "csv": args.csv})
    steps = args.steps + WARM_UP
    contestants = {
        "nn.TransformerEncoder, DataLoader": lambda: peer_seconds(config, data, steps),
        "gated": lambda: our_seconds(config, data, steps),
        "gated, compile": lambda: our_seconds(config, data, steps, compile=True),
    }
    seconds = take_turns(contestants, args.rounds)
    write({name: args.steps / statistics.median(each) for name, each in seconds.items()})
    render.main()


def take_turns(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every round of each, the rounds interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(1, rounds + 1):
        for name, race in contestants.items():
            seconds[name].append(race())
            print(f"round {number}/{rounds}: {name} {seconds[name][-1]:.2f} s", flush=True)
    return seconds


def peer_seconds(config: dict[str, Any], data: SeriesTable, steps: int) -> float:
    """Train the plain composition; return the seconds of all steps but the first ones."""
    options, sizes = config["data"]["init_args"], dict(config["model"]["init_args"]["net"]["init_args"])
    net = PlainGateformer(options["input_size"], options["horizon"], **sizes).train()
    rows = data.borders.train[0]
    dates = pd.DatetimeIndex(data.table.values.index[:rows])
    marks = pd.DataFrame({"h": dates.hour, "d": dates.day, "w": dates.dayofweek, "m": dates.month}).to_numpy("float64")
    values = data.panel.filled[:rows].double().numpy()
    windows = PlainWindows(values, marks, options["input_size"], options["horizon"])
    loader = DataLoader(windows, batch_size=options["batch_size"], shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=config["model"]["init_args"]["lr"])
    criterion, losses, began = nn.MSELoss(), [], 0.0
    for step, (x, y, x_mark, y_mark) in enumerate(islice(loader, steps)):
        if step == WARM_UP:
            began = time.perf_counter()
        optimizer.zero_grad()
        x, y, _, _ = x.float(), y.float(), x_mark.float(), y_mark.float()
        loss = criterion(net(x), y)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


class Clock(L.Callback):
    """Reads the time after the steps that warm up."""

    def __init__(self) -> None:
        self.began = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP:
            self.began = time.perf_counter()


def our_seconds(
    config: dict[str, Any], data: SeriesTable, steps: int, compile: bool = False, net: Buildable | None = None
) -> float:
    """Train by the config, or another network than its own; return the seconds of all steps but the first ones."""
    options, spec = dict(config["model"]["init_args"]), config["model"]["init_args"]["net"]
    sizes = {name: config["data"]["init_args"][name] for name in ("input_size", "horizon")}
    net = net or build({"class_path": spec["class_path"], "init_args": {**spec["init_args"], **sizes}})
    clock = Clock()
    with quiet():
        trainer = L.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            callbacks=[clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        trainer.fit(Forecaster(**{**options, "net": net}, compile=compile), datamodule=data)
    return time.perf_counter() - clock.began


def write(steps_a_second: dict[str, float]) -> None:
    first = next(iter(steps_a_second.values()))
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("training", "steps_a_second", "times_as_fast"))
        for name, each in steps_a_second.items():
            line = (name, f"{each:.1f}", f"{each / first:.2f}")
            writer.writerow(line)
            print(*line, sep="  ")


if __name__ == "__main__":
    main()
