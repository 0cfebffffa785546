"""``fit``, ``validate`` and ``test`` of every task: a run folder, safe checkpoints, readable errors."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from gated.cli.errors import explain_parser_error
from gated.configs import find_config
from gated.engine.checkpoint import load, load_strictly, read_lightning
from gated.engine.data import GatedDataModule
from gated.engine.files import existing_file
from gated.engine.module import GatedModule
from gated.engine.quiet import quiet
from gated.engine.run import Run, command_line, find_last
from gated.errors import UserError

Links = Sequence[tuple[str, str]]


class GatedCLI(LightningCLI):
    """A LightningCLI without subcommands (the front door has them) whose trainer writes into a run folder."""

    def __init__(self, stage: str, task: str, name: str, links: Links, args: list[str]) -> None:
        self.stage, self.task, self.name, self.links = stage, task, name, links
        super().__init__(
            GatedModule,
            GatedDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"exit_on_error": False, "prog": f"gated {task} {stage}", "description": _ABOUT[stage]},
            args=args,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our own options, and the links from what the data knows to what the network must be told."""
        fit_only = {
            "resume": (None, "checkpoint to go on from, or 'last'"),
            "init_from": (None, "checkpoint to take the weights of"),
            "out": ("runs", "folder of all runs"),
            "name": (self.name, "name of the run"),
        }
        for option, (default, text) in fit_only.items():
            # the config that a run saves holds them all, and `test -c run/config.yaml` must read it
            shown = text if self.stage == "fit" else argparse.SUPPRESS
            parser.add_argument(f"--{option}", type=str | None, default=default, help=shown)
        if self.stage != "fit":
            parser.add_argument("--ckpt", type=str, required=True, help="checkpoint to judge")
        for source, target in self.links:
            parser.link_arguments(source, target, apply_on="instantiate")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Give a training run its folder; judging a checkpoint writes nothing."""
        self.run = None
        if self.stage == "fit" and not self._get(self.config_init, "trainer").get("fast_dev_run"):
            self.run = Run(self.config["out"], self.task, self.config["name"])
            trainer = self.config_init["trainer"]
            trainer["callbacks"] = [*(trainer.get("callbacks") or []), *self.run.callbacks(self.model)]
            kwargs["logger"] = self.run.loggers()
        else:
            kwargs["logger"] = False
            self.save_config_callback = None
        return super().instantiate_trainer(**kwargs)


_TOP_LEVEL = (
    "config",
    "model",
    "data",
    "trainer",
    "seed_everything",
    "resume",
    "init_from",
    "out",
    "name",
    "ckpt",
    "print_config",
)

_ABOUT = {
    "fit": "Train a network on your data, or go on with a run.",
    "validate": "Judge a checkpoint on the validation part of your data.",
    "test": "Judge a checkpoint on the held-out part of your data.",
}


def run_lightning(argv: list[str], *, task: str, links: Links = ()) -> int:
    """Run ``fit|validate|test`` of a task.

    Args:
        argv: the stage and its options, such as ``["fit", "-c", "vision/convit_digits"]``.
        task: folder below ``tasks``, and below the run folder.
        links: pairs (attribute of the data module, option of the network), such as
            ``("data.num_classes", "model.init_args.net.init_args.num_classes")``.

    Returns:
        0.

    Raises:
        UserError: anything the user can mend.
    """
    stage, *rest = argv
    for package in (f"tasks.{task}", f"tasks.{task}.models", "gated.core.mixers"):
        module = import_module(package)
        for public in module.__all__:
            getattr(module, public)  # so that short class names such as `--model Classifier` are known
    rest, name = _named_configs(rest, task)
    with quiet():
        try:
            cli = GatedCLI(stage, task, name, links, rest)
        except (ArgumentError, TypeError, ValueError) as error:
            explained = explain_parser_error(error, f"gated {task} {stage}", _TOP_LEVEL)
            if explained is None:
                raise
            raise explained from error
        return _fit(cli) if stage == "fit" else _judge(cli, stage)


def _fit(cli: GatedCLI) -> int:
    resume, init_from = cli.config["resume"], cli.config["init_from"]
    if resume and init_from:
        raise UserError("--resume and --init_from exclude each other", hint="resume goes on; init_from starts anew")
    if resume:
        resume = find_last(cli.config["out"], cli.task, cli.config["name"]) if resume == "last" else resume
        read_lightning(existing_file(resume, "checkpoint"))  # a readable message before Lightning gets to see it
    if init_from:
        load_strictly(cli.model.net, load(init_from).state_dict(), str(init_from))
    if cli.run:
        print(f"run folder: {cli.run.folder}")
        cli.run.write_environment(command_line(), cli.config["seed_everything"])
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=resume, weights_only=True if resume else None)
    if cli.run is None:
        return 0
    best, label = cli.trainer.checkpoint_callback.best_model_path, "best checkpoint"
    if not best:  # the run was shorter than `check_val_every_n_epoch`
        best, label = str(cli.run.checkpoints / "last.ckpt"), "last checkpoint (no validation took place)"
    scores = {k: float(v) for k, v in cli.trainer.callback_metrics.items() if k.startswith("val/")}
    cli.run.write_report(cli.model, scores)
    print(f"\n{label}: {best}\nreport: {cli.run.folder / 'report.html'}")
    print(f"next: gated {cli.task} test -c {cli.run.folder / 'config.yaml'} --ckpt {best}")
    return 0


def _judge(cli: GatedCLI, stage: str) -> int:
    net = load(cli.config["ckpt"])
    load_strictly(cli.model.net, net.state_dict(), cli.config["ckpt"])
    getattr(cli.trainer, stage)(cli.model, datamodule=cli.datamodule)
    return 0


def _named_configs(argv: list[str], task: str) -> tuple[list[str], str]:
    """Replace the names of configs by their files; also return the run's default name, that of the last config."""
    out, name = [], "custom"
    words = iter(argv)
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("-c", "--config"):
            path = find_config(value if equals else next(words, ""), task)
            name = path.stem if path.stem != "config" else path.absolute().parents[1].name
            out += ["--config", str(path)]
        else:
            out.append(_dashes(word))
    return out, name


def _dashes(word: str) -> str:
    """Accept ``--init-from`` for ``--init_from``: the rest of the command line uses dashes."""
    return word.replace("--init-from", "--init_from", 1) if word.startswith("--init-from") else word
