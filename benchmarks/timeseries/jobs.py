"""The runs of the long-horizon tables: which config and horizon, with what changed, from which seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

SEEDS = (0, 1, 2)
HORIZONS = {"etth1": (96, 192, 336, 720), "etth2": (96, 192, 336, 720), "exchange": (96, 192, 336, 720)}
HORIZONS["ili"] = (24, 36, 48, 60)
CSV = {"etth1": "ETTh1", "etth2": "ETTh2", "exchange": "exchange_rate", "ili": "national_illness"}

PLAIN: dict[str, Any] = {"dropout": 0.3, "shortcut": False, "loss": "mae", "lr": 1e-3}
"""Where the choice on validation began, and what the ablations change."""

LONG: dict[str, Any] = {"input_size": 512, "patch_size": 16, "stride": 16}
"""The longer look-back; patches are longer too, so that there are not five times as many."""

CANDIDATES: dict[str, dict[str, Any]] = {
    "linear start, rate 1e-4, squared error": {"shortcut": True, "lr": 1e-4, "loss": "mse"},
    "linear start, rate 1e-4": {"shortcut": True, "lr": 1e-4},
    "dropout 0.3": {},
    "linear start, rate 3e-5": {"shortcut": True, "lr": 3e-5},
    "linear start, rate 3e-4": {"shortcut": True, "lr": 3e-4},
    "linear start": {"shortcut": True},
    "dropout 0.1": {"dropout": 0.1},
    "squared error": {"loss": "mse"},
    "linear start, rate 1e-4, squared error, no attention over variates": {
        "shortcut": True,
        "lr": 1e-4,
        "loss": "mse",
        "num_variate_layers": 0,
    },
}
"""What the choice was among, as changes of ``PLAIN``."""

FINALISTS = ("linear start, rate 1e-4, squared error", "linear start, rate 1e-4", "dropout 0.3")
"""Candidates that have run at all four horizons, with one seed: the mean of their validation errors decides.

What came out stands in ``configs/timeseries``: ``etth1.yaml``, ``etth1_look512.yaml`` and so on.
"""

EARLIER = (("etth1", "dropout 0.3"), ("etth2", "linear start"))
EARLIER += (("etth1", "512, dropout 0.3"), ("etth2", "512, dropout 0.3"))
EARLIER += (("etth1", "512, linear start, rate 1e-4, squared error"), ("etth2", "512, linear start, rate 1e-4"))
"""What earlier choices had come to, by horizons 96 and 720 alone or among fewer candidates; their test errors had been
seen before the last choice."""

ALONE = "512, linear start, rate 1e-4, squared error, no attention over variates"
"""Tried last, for the longer look-back alone."""

OTHERS = ("linear start, rate 1e-4, squared error", "linear start")
"""Candidates for exchange and influenza: the settings that were best for ETTh2, at last and before."""

DROPPED = {
    "": ("linear start, rate 3e-4", "linear start", "dropout 0.1", "squared error"),
    "512, ": ("linear start, rate 3e-5", "linear start, rate 3e-4", "linear start"),
}
"""Candidates that were dropped after horizons 96 and 720, for look-back 96 and 512."""

MIXERS = {
    "linear attention": ("gated.core.mixers.GatedLinearAttention", {"num_heads": 4}),
    "gated delta": ("gated.core.mixers.GatedDeltaNet", {"num_heads": 4}),
    "forgetting attention": ("gated.core.mixers.ForgettingAttention", {"num_heads": 4}),
}


def ablations() -> dict[str, dict[str, Any]]:
    """Return what is changed, by name."""
    changes: dict[str, dict[str, Any]] = {
        "nothing": {},
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


def changes_of(name: str) -> tuple[tuple[str, Any], ...]:
    """Return what a candidate changes in the config of its data set; "512, " before a name is the longer look-back."""
    long = name.startswith("512, ")
    return tuple((PLAIN | (LONG if long else {}) | CANDIDATES[name.removeprefix("512, ")]).items())


def jobs(study: str) -> Iterator[Job]:
    """Yield the runs of one study."""
    if study == "choice":
        for prefix, dropped in DROPPED.items():
            for name in (*FINALISTS, *dropped):
                for config in ("etth1", "etth2"):
                    for horizon in HORIZONS[config] if name in FINALISTS else (96, 720):
                        yield Job(study, config, horizon, prefix + name, changes_of(prefix + name), judged=False)
        for config in ("etth1", "etth2"):
            for horizon in HORIZONS[config]:
                yield Job(study, config, horizon, ALONE, changes_of(ALONE), judged=False)
        for name in OTHERS:
            for config in ("exchange", "ili"):
                for horizon in HORIZONS[config]:
                    yield Job(study, config, horizon, name, changes_of(name), judged=False)
    if study == "earlier choices":
        for config, name in EARLIER:
            for horizon in HORIZONS[config]:
                for seed in SEEDS:
                    yield Job(study, config, horizon, name, changes_of(name), seed)
    if study == "ours":
        for config, horizons in HORIZONS.items():
            for horizon in horizons:
                for seed in SEEDS:
                    yield Job(study, config, horizon, seed=seed)
    if study == "look-back 512":
        for data in ("etth1", "etth2"):
            for horizon in HORIZONS[data]:
                for seed in SEEDS:
                    yield Job(study, f"{data}_look512", horizon, seed=seed)
    if study == "official":
        for data in ("etth1", "etth2", "exchange"):
            for horizon in HORIZONS[data]:
                yield Job(study, f"{data}_{horizon}", horizon, seed=2021)
    if study == "ablation":
        for name, changes in ablations().items():
            for seed in SEEDS:
                yield Job(study, "etth1", 96, name, tuple((PLAIN | changes).items()), seed)


STUDIES = ("ours", "look-back 512", "earlier choices", "official", "ablation")
