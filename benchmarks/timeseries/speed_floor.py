"""What of a compiled training step no fusion of passes would save, as shares of the plain composition's step.

    python -m benchmarks.timeseries.speed_floor --csv ETTh1.csv

Four parts of a step at the official ETTh1-96 setting, each by itself: the matrix products and the random bits of
dropout (torch's profiler), the fused optimiser, and Lightning's trainer with the data module around a network of one
number. Where their sum is more than the share that a promised ratio leaves, the ratio can't be reached by a better
network code.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import yaml
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.timeseries.speed import WARM_UP, our_seconds, peer_seconds
from gated.configs import find_config
from gated.core.nn.buildable import Buildable
from gated.registry import build
from tasks.timeseries.data import SeriesTable
from tasks.timeseries.forecast import Forecaster

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
STEPS, ROUNDS = 100, 5


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
    step, optimize = compiled_step(config, data)
    empty = lambda: our_seconds(config, data, steps, net=Nothing(data.horizon))  # noqa: E731
    peer, trainer, update = (
        statistics.median(each) for each in in_turn(lambda: peer_seconds(config, data, steps), empty, optimize)
    )
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    spent = {event.key: event.self_cpu_time_total * 1e-6 for event in found.key_averages()}
    parts = {
        "matrix products": sum(spent[name] for name in PRODUCTS),
        "random bits": spent["aten::random_"],
        "optimiser": update,
        "trainer and data": trainer,
    }
    print(f"the plain composition: {1e3 * peer / STEPS:.1f} ms a step")
    for name, seconds in {**parts, "together": sum(parts.values())}.items():
        print(f"{name}: {1e3 * seconds / STEPS:.2f} ms, {seconds / peer:.2f} of that")


def in_turn(*calls: Callable[[], float]) -> list[list[float]]:
    """Return the seconds of every round of each, in turns."""
    rounds = [[call() for call in calls] for _ in range(ROUNDS)]
    return [list(each) for each in zip(*rounds, strict=True)]


def compiled_step(config: dict, data: SeriesTable) -> tuple[Callable[[], None], Callable[[], float]]:
    """Return ``STEPS`` forward and backward passes, and the seconds of as many updates; both have run before."""
    options, spec = dict(config["model"]["init_args"]), config["model"]["init_args"]["net"]
    sizes = {name: config["data"]["init_args"][name] for name in ("input_size", "horizon")}
    net = build({"class_path": spec["class_path"], "init_args": {**spec["init_args"], **sizes}})
    module = Forecaster(**{**options, "net": net}, compile=True).train()
    module.on_fit_start()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    optimizer = torch.optim.AdamW(net.parameters(), lr=options["lr"], fused=True)

    def passes() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            module.training_step(batch, 0).backward()

    def updates() -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            optimizer.step()
        return time.perf_counter() - began

    passes(), updates()
    return passes, updates


if __name__ == "__main__":
    main()
