"""The runs of the long-horizon tables: which config and horizon, with what changed, from which seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

SEEDS = (0, 1, 2)
HORIZONS = {"etth1": (96, 192, 336, 720), "etth2": (96, 192, 336, 720), "exchange": (96, 192, 336, 720)}
HORIZONS["ili"] = (24, 36, 48, 60)
CSV = {"etth1": "ETTh1", "etth2": "ETTh2", "exchange": "exchange_rate", "ili": "national_illness"}

LONG = {"input_size": 512, "patch_size": 16, "stride": 16, "shortcut": False}
"""The longer look-back as chosen on validation; patches are longer too, so that there are not five times as many."""

START = {"shortcut": True}
CANDIDATES: dict[str, dict[str, Any]] = {
    "linear start, rate 1e-4, squared error": START | {"lr": 1e-4, "loss": "mse"},
    "linear start, rate 1e-4": START | {"lr": 1e-4},
    "dropout 0.3": {},
    "linear start, rate 3e-4": START | {"lr": 3e-4},
    "linear start": START,
    "dropout 0.1": {"dropout": 0.1},
    "squared error": {"loss": "mse"},
}
"""What the choice on validation was among, for look-back 96."""

LONG_CANDIDATES: dict[str, dict[str, Any]] = {
    "512, linear start, rate 1e-4, squared error": LONG | START | {"lr": 1e-4, "loss": "mse"},
    "512, linear start, rate 1e-4": LONG | START | {"lr": 1e-4},
    "512, dropout 0.3": LONG,
    "512, linear start, rate 3e-5": LONG | START | {"lr": 3e-5},
    "512, linear start, rate 3e-4": LONG | START | {"lr": 3e-4},
    "512, linear start": LONG | START,
}
"""The same for the longer look-back."""

FIRST_LOOK = ("linear start", "linear start, rate 3e-4", "dropout 0.1", "squared error")
FIRST_LOOK += ("512, linear start", "512, linear start, rate 3e-4")
"""Candidates that were dropped after horizons 96 and 720; the others have run at all four."""

MIXERS = {
    "linear attention": ("gated.core.mixers.GatedLinearAttention", {"num_heads": 4}),
    "gated delta": ("gated.core.mixers.GatedDeltaNet", {"num_heads": 4}),
    "forgetting attention": ("gated.core.mixers.ForgettingAttention", {"num_heads": 4}),
}


def ablations() -> dict[str, dict[str, Any]]:
    """Return what is changed, by name."""
    changes: dict[str, dict[str, Any]] = {
        "no temporal gate": {"gates": "variate"},
        "no variate gate": {"gates": "temporal"},
        "no gates": {"gates": "none"},
        "no attention over variates": {"num_variate_layers": 0},
    }
    for name, (path, options) in MIXERS.items():
        for place in ("temporal", "variate"):
            changes[f"{place} mixer: {name}"] = {f"{place}_mixer": {"class_path": path, "init_args": options}}
    return changes


class Job(NamedTuple):
    """One training.

    Attributes:
        study: which table it belongs to.
        config: below ``configs/timeseries``.
        horizon: steps to forecast.
        variant: what was changed, in words; empty for the config as it stands.
        changes: of the network's, the loss's or the data's options.
        seed: of weights, dropout and order.
        judged: measure the test rows too; never while choosing.
    """

    study: str
    config: str
    horizon: int
    variant: str = ""
    changes: tuple[tuple[str, Any], ...] = ()
    seed: int = 0
    judged: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it apart in the table of runs."""
        return (self.study, self.config, str(self.horizon), self.variant, str(self.seed))


def jobs(study: str) -> Iterator[Job]:
    """Yield the runs of one study."""
    if study == "choice":
        for name, changes in (LONG_CANDIDATES | CANDIDATES).items():
            for config in ("etth1", "etth2"):
                for horizon in (96, 720) if name in FIRST_LOOK else HORIZONS[config]:
                    yield Job(study, config, horizon, name, tuple(changes.items()), judged=False)
    if study in ("ours", "look-back 512"):
        long = study != "ours"
        for config in ("etth1", "etth2") if long else HORIZONS:
            for horizon in HORIZONS[config]:
                for seed in SEEDS:
                    yield Job(study, config, horizon, "", tuple(LONG.items()) if long else (), seed)
    if study == "official":
        for data in ("etth1", "etth2", "exchange"):
            for horizon in HORIZONS[data]:
                yield Job(study, f"{data}_{horizon}", horizon, seed=2021)
    if study == "ablation":
        for name, changes in ablations().items():
            for seed in SEEDS:
                yield Job(study, "etth1", 96, name, tuple(changes.items()), seed)


STUDIES = ("ours", "official", "ablation", "look-back 512")
