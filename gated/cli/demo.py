"""``gated demo``: the three main jobs on real data that ships with the package, and a report to look at."""

from __future__ import annotations

import time
from datetime import datetime
from importlib import import_module
from pathlib import Path

from gated.cli.main import Parser
from gated.registry import TASKS

_TITLES = {
    "vision": "handwritten digits: train a small ConViT",
    "speech": "two voices: separate them with a small MossFormer",
    "timeseries": "weekly influenza: forecast with a Gateformer",
}


def main(argv: list[str]) -> int:
    """Run the demo; its files go to ``--out``."""
    parser = Parser(
        prog="gated demo", description="Train, separate and forecast on real data that ships with the package."
    )
    parser.add_argument("--out", metavar="DIR", default=None, help="folder to write to (default: runs/demo/<time>)")
    parser.add_argument("--only", choices=TASKS, action="append", help="run one of the three (repeatable)")
    options = parser.parse_args(argv)
    out = Path(options.out or f"runs/demo/{datetime.now():%Y%m%d-%H%M%S}")
    tasks = options.only or list(TASKS)

    print(f"gated demo: {len(tasks)} jobs, a few minutes on two cores; files go to {out}", flush=True)
    import torch

    from gated.engine.report import format_metric, write_report

    # these networks are too small to gain from threads, and on a shared machine threads wait for each other: one core
    # took 92 s where two threads beside a busy process took over 600 s
    torch.set_num_threads(1)
    sections = []
    for number, task in enumerate(tasks, 1):
        print(f"\n[{number}/{len(tasks)}] {_TITLES[task]}", flush=True)
        start = time.perf_counter()
        section = import_module(f"tasks.{task}.demo").run(out / task)
        section.metrics["seconds"] = float(round(time.perf_counter() - start))
        sections.append(section)
    report = write_report(out / "report.html", "gated demo", sections)

    print()
    for section in sections:
        print(section.title)
        width = max(map(len, section.metrics))
        for name, value in section.metrics.items():
            print(f"  {name:<{width}}  {format_metric(value)}")
    print(
        f"\nreport: {report}\nnext: `gated configs` lists what to train on your own files; `gated --help` the commands"
    )
    return 0
