"""What is left of a training step once everything that could cost nothing costs nothing, beside the plain composition.

    python -m benchmarks.timeseries.speed_floor --csv ETTh1.csv

At the official ETTh1-96 setting, one thread: the network and its optimiser in a bare loop over one batch, as it is and
with dropout left out; the same compiled; and Lightning's trainer with the data module around a network of one number.
Where a network without dropout, or that and the trainer, is still slower than a promised ratio allows, no cheaper
dropout and no leaner loop can keep the promise. All take turns with the plain composition (``plain.py``). Last, what of
a compiled step is matrix products, by torch's profiler: no fusion of passes saves these.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import yaml
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.timeseries.speed import WARM_UP, our_seconds, peer_seconds, take_turns
from gated.configs import find_config
from gated.core.nn.buildable import Buildable
from gated.registry import build
from tasks.timeseries.data import SeriesTable
from tasks.timeseries.forecast import Forecaster

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
STEPS, ROUNDS = 100, 9


class Nothing(Buildable):
    """A network of one number."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon, self.number = horizon, nn.Parameter(torch.zeros(1))

    def forward(self, x_BLN: torch.Tensor) -> torch.Tensor:
        """Return the number for every step and series."""
        return self.number.expand(len(x_BLN), self.horizon, x_BLN.shape[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", required=True, help="ETTh1.csv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load(find_config("timeseries/etth1_96").read_text())
    data = SeriesTable(**{**config["data"]["init_args"], "csv": args.csv})
    steps = STEPS + WARM_UP
    loops = {
        f"{'compiled' if compile else 'eager'}, {'no ' if dropout == 0 else ''}dropout": bare(
            config, data, dropout=dropout, compile=compile
        )
        for compile in (False, True)
        for dropout in (None, 0.0)
    }
    trainer = lambda: our_seconds(config, data, steps, net=Nothing(data.horizon))  # noqa: E731
    contestants = {"plain": lambda: peer_seconds(config, data, steps), "trainer and data": trainer, **loops}
    spent = {name: statistics.median(each) / STEPS for name, each in take_turns(contestants, ROUNDS).items()}
    print(f"the plain composition: {1e3 * spent['plain']:.1f} ms a step")
    print(f"trainer and data: {1e3 * spent['trainer and data']:.2f} ms")
    for name in loops:
        alone, whole = spent[name], spent[name] + spent["trainer and data"]
        print(
            f"{name}: {1e3 * alone:.1f} ms, {spent['plain'] / alone:.2f} times as fast; "
            f"with trainer and data {spent['plain'] / whole:.2f}"
        )
    products = product_seconds(loops["compiled, dropout"])
    print(
        f"matrix products of a compiled step: {1e3 * products:.1f} ms, {products / spent['plain']:.2f} of the plain one"
    )


def bare(config: dict[str, Any], data: SeriesTable, *, dropout: float | None, compile: bool) -> Callable[[], float]:
    """Return what runs ``STEPS`` steps on one batch and says how long they took; it has run (and compiled) before."""
    options, spec = dict(config["model"]["init_args"]), config["model"]["init_args"]["net"]
    sizes = {name: config["data"]["init_args"][name] for name in ("input_size", "horizon")}
    changed = {} if dropout is None else {"dropout": dropout}
    net = build({"class_path": spec["class_path"], "init_args": {**spec["init_args"], **sizes, **changed}})
    module = Forecaster(**{**options, "net": net}, compile=compile).train()
    module.on_fit_start()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    optimizer = torch.optim.AdamW(net.parameters(), lr=options["lr"], fused=True)

    def steps() -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad()
            module.training_step(batch, 0).backward()
            optimizer.step()
        return time.perf_counter() - began

    steps()
    return steps


def product_seconds(steps: Callable[[], float]) -> float:
    """Return the seconds a step that torch's profiler finds in matrix products."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        steps()
    return sum(event.self_cpu_time_total for event in found.key_averages() if event.key in PRODUCTS) * 1e-6 / STEPS


if __name__ == "__main__":
    main()
