"""The long-horizon benchmark: every test window counts, validation chooses, the test rows are looked at once.

    python -m benchmarks.timeseries.long_horizon --data-dir DIR [--study ours official ablation "look-back 512"]

DIR holds ETTh1.csv, ETTh2.csv and exchange_rate.csv; national_illness ships. Each run trains a Gateformer by a config
of ``configs/timeseries`` and adds a line to ``benchmarks/results/timeseries_runs.csv``; runs that are in it already are
left out, so that the command may be stopped and started again. At the end the means and deviations over seeds are
written to ``benchmarks/results/timeseries.csv``, beside the simple forecasts on the same windows.

``--study choice`` measures the candidates on validation rows alone (``timeseries_choice.csv``).
"""

from __future__ import annotations

import argparse
import csv
import time
from contextlib import ExitStack
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.timeseries import render, summary
from benchmarks.timeseries.floors import floors
from benchmarks.timeseries.jobs import CSV, HORIZONS, STUDIES, Job, jobs
from gated.configs import find_config
from gated.registry import build
from tasks.timeseries.data import TableWindows
from tasks.timeseries.forecast import point
from tasks.timeseries.reading import read_table
from tasks.timeseries.table import Table
from tasks.timeseries.training import fit
from tasks.timeseries.windows import Windows

RESULTS = Path(__file__).parents[1] / "results"
FIELDS = (
    *("study", "config", "horizon", "variant", "seed", "look_back"),
    *("val_mse", "val_mae", "test_mse", "test_mae", "seconds"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--study", nargs="+", default=["floors", *STUDIES], choices=["floors", *STUDIES, "choice"])
    parser.add_argument("--config", nargs="+", help="only these, such as etth1")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after as many")
    args = parser.parse_args()
    ends = time.time() + 60 * args.minutes
    if "floors" in args.study:
        write_floors(args.data_dir)
    wanted = [job for study in args.study for job in jobs(study)]
    wanted = [job for job in wanted if args.config is None or job.config in args.config]
    done = {tuple(line[name] for name in FIELDS[:5]) for line in lines()}
    todo = [(job, args.data_dir, ends) for job in wanted if job.key not in done]
    print(f"{len(wanted)} runs, {len(todo)} of them to do", flush=True)
    with ExitStack() as stack:
        spread = map
        if args.workers > 1:
            spread = stack.enter_context(get_context("spawn").Pool(args.workers)).imap_unordered
        for number, line in enumerate(spread(_run, todo), 1):
            if line is None:
                continue
            append(line)
            shown = [line["test_mse"] or line["val_mse"], f"{line['seconds']} s"]
            print(f"{number}/{len(todo)}", *(line[name] for name in FIELDS[:5]), *shown, flush=True)
    if (RESULTS / "timeseries_runs.csv").exists():
        summary.main()
        render.main()


def write_floors(folder: Path) -> None:
    """Measure the simple forecasts, once."""
    done = {line["config"] for line in lines() if line["study"] == "floors"}
    for config in HORIZONS:
        if config not in done:
            options = setting(Job("floors", config, HORIZONS[config][0]))[2]
            for line in floors(config, table(folder, CSV[config]), options["split"]):
                append({name: line.get(name, "") for name in FIELDS})


def lines() -> list[dict[str, str]]:
    """Return the runs so far."""
    found: list[dict[str, str]] = []
    for path in (RESULTS / "timeseries_runs.csv", RESULTS / "timeseries_choice.csv"):
        if path.exists():
            with path.open(newline="") as file:
                found += csv.DictReader(file)
    return found


def append(line: dict[str, Any]) -> None:
    path = RESULTS / ("timeseries_choice.csv" if line["study"] == "choice" else "timeseries_runs.csv")
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(line)


def _run(task: tuple[Job, Path, float]) -> dict[str, Any] | None:
    job, folder, ends = task
    return None if time.time() > ends else run(job, folder)


def run(job: Job, folder: Path) -> dict[str, Any]:
    """Train, choose the epoch on validation, measure."""
    torch.set_num_threads(1)
    began = time.process_time()
    net_spec, loss, options, trainer, stop = setting(job)
    data = TableWindows(
        table(folder, CSV[job.config.split("_")[0]]),
        input_size=net_spec["init_args"]["input_size"],
        horizon=job.horizon,
        **options,
        seed=job.seed,
    )
    torch.manual_seed(job.seed)
    net = build(net_spec)
    fit(
        net,
        data,
        epochs=trainer["max_epochs"],
        patience=stop,
        clip=trainer.get("gradient_clip_val"),
        seed=job.seed,
        progress=False,
        **loss,
    )
    val = errors(net, data.windows("val"))
    test = errors(net, data.windows("test")) if job.judged else ("", "")
    figures = dict(zip(("val_mse", "val_mae", "test_mse", "test_mae"), (*val, *test), strict=True))
    return {
        **dict(zip(FIELDS[:5], job.key, strict=True)),
        "look_back": data.input_size,
        **{name: value if value == "" else f"{value:.5f}" for name, value in figures.items()},
        "seconds": round(time.process_time() - began),
    }


def setting(job: Job) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any], int]:
    """Return the network's spec, the options of the loss and of the data, the trainer's, and the patience."""
    config = yaml.safe_load(find_config(f"timeseries/{job.config}").read_text())
    loss = dict(config["model"]["init_args"])
    spec = loss.pop("net")
    options = {name: config["data"]["init_args"].get(name) for name in ("split", "batch_size", "max_windows")}
    network = {**spec["init_args"], "input_size": config["data"]["init_args"]["input_size"], "horizon": job.horizon}
    for name, value in job.changes:
        place = loss if name in ("loss", "lr", "normalize") else options if name in options else network
        place[name] = value
    stop = config["trainer"]["callbacks"][0]["init_args"]["patience"]
    if isinstance(options["split"], list):
        options["split"] = tuple(options["split"])
    return {"class_path": spec["class_path"], "init_args": network}, loss, options, config["trainer"], stop


@cache
def table(folder: Path, name: str) -> Table:
    """Read a data set; the one that ships by its name."""
    path = folder / f"{name}.csv"
    return read_table(path if path.exists() else name)


def errors(net: torch.nn.Module, windows: Windows, batch_size: int = 256) -> tuple[float, float]:
    """Return the mean squared and absolute error over windows, steps and series."""
    squared = absolute = 0.0
    count = 0
    for start in range(0, len(windows), batch_size):
        batch = windows.__getitems__(range(start, min(start + batch_size, len(windows))))
        with torch.no_grad():
            miss = (point(net, batch) - batch.y).double()
        squared += float(miss.square().sum())
        absolute += float(miss.abs().sum())
        count += miss.numel()
    return squared / count, absolute / count


if __name__ == "__main__":
    main()
