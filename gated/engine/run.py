"""The folder of a run: ``runs/<task>/<name>/<time>/`` with config, metrics, checkpoints, report."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from gated.engine.files import atomic_path
from gated.engine.module import GatedModule
from gated.engine.report import Section, write_report
from gated.errors import UserError

_PACKAGES = ("gated", "torch", "lightning", "torchvision", "torchaudio", "timm", "numpy", "jsonargparse")


class Run:
    """One training run on disk.

    Args:
        root: the folder of all runs, ``runs`` by default on the command line.
        task: such as ``"vision"``.
        name: such as the name of the config.
    """

    def __init__(self, root: str | Path, task: str, name: str) -> None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        base = Path(root) / task / name
        self.folder = next(p for i in range(10_000) if not (p := base / (f"{stamp}-{i}" if i else stamp)).exists())
        self.checkpoints = self.folder / "checkpoints"

    def loggers(self) -> list[Logger]:
        """CSV (works everywhere) and TensorBoard, both straight into the folder."""
        return [CSVLogger(self.folder, name="", version=""), TensorBoardLogger(self.folder, name="", version="")]

    def callbacks(self, module: GatedModule) -> list[Callback]:
        """Keep the best checkpoint by the module's metric, and the last one."""
        best = ModelCheckpoint(
            dirpath=self.checkpoints,
            filename="best",
            monitor=module.monitor,
            mode=module.monitor_mode,
            enable_version_counter=False,
        )
        # ModelCheckpoint(save_last=True) writes last.ckpt only when a new best appears: not where the run stands
        last = ModelCheckpoint(
            dirpath=self.checkpoints, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
        )
        return [best, last, LearningRateMonitor(logging_interval="epoch")]

    def write_environment(self, command: list[str], seed: Any) -> None:
        """Write versions, commit, command and seed to ``environment.json``."""
        facts = {
            "command": command,
            "seed": seed,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "git_commit": _git_commit(),
            "packages": {p: v for p in _PACKAGES if (v := _version(p))},
        }
        with atomic_path(self.folder / "environment.json") as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def write_report(self, module: GatedModule, scores: dict[str, float]) -> Path | None:
        """Draw the curves of ``metrics.csv`` and write ``report.html``; None if nothing was logged."""
        log = self.folder / "metrics.csv"
        if not log.is_file():
            return None
        figure = self.folder / "figures" / "curves.png"
        draw_curves(log, figure)
        section = Section("Training", metrics=dict(scores), figures=[(figure, f"chosen by {module.monitor}")])
        return write_report(self.folder / "report.html", f"{type(module.net).__name__}: {self.folder.name}", [section])


def find_last(root: str | Path, task: str, name: str) -> Path:
    """Return the newest ``last.ckpt`` of a run name.

    Raises:
        UserError: there is none.
    """
    base = Path(root) / task / name
    found = sorted(base.glob("*/checkpoints/last.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise UserError(
            "--resume last: no earlier run", expected=f"a checkpoint below {base}", hint="run without --resume"
        )
    return found[-1]


def draw_curves(log: Path, figure: Path) -> None:
    """Draw every train/val metric of a Lightning ``metrics.csv`` over the steps, one panel a metric."""
    import pandas as pd
    from matplotlib.figure import Figure

    table = pd.read_csv(log)
    names = sorted({c.split("/", 1)[1] for c in table.columns if "/" in c})
    names = [n for n in names if any(f"{stage}/{n}" in table for stage in ("train", "val"))]
    picture = Figure(figsize=(4.5 * max(1, len(names)), 3.2), layout="constrained")
    for axis, name in zip(picture.subplots(1, max(1, len(names)), squeeze=False)[0], names, strict=False):
        for stage in ("train", "val"):
            column = f"{stage}/{name}"
            if column in table:
                kept = table[["step", column]].dropna()
                # a line through one point is not seen
                axis.plot(kept["step"], kept[column], label=stage, marker="o" if len(kept) == 1 else None)
        axis.set(title=name, xlabel="step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    with atomic_path(figure) as temporary:
        picture.savefig(temporary, dpi=120)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
            timeout=5,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> list[str]:
    """Return the command that runs now, without the path of the interpreter."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
