"""The training module that every objective derives from: a network, its optimiser and what a checkpoint must carry."""

from __future__ import annotations

import math
import os
from typing import Any, ClassVar, Literal

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from gated.core.nn.buildable import Buildable, public_path
from gated.engine.allocator import keep_freed_memory
from gated.engine.checkpoint import FORMAT

COMPILE = {"fallback_random": True}
"""Options of ``torch.compile``: random numbers by torch's own generator, which on a CPU is faster than inductor's."""


class GatedModule(L.LightningModule):
    """A network under training with AdamW: warm-up, constant rate, cosine decay to zero.

    Args:
        net: the network.
        lr: peak learning rate.
        weight_decay: on matrices and kernels only, never on vectors or on ``net.no_weight_decay()``.
        warmup_steps: optimiser steps of linear warm-up.
        decay_fraction: share of all steps, at the end, over which the rate falls to zero (1: cosine, 0: constant).
        compile: compile the network with ``torch.compile`` when training starts.
    """

    monitor: ClassVar[str] = "val/loss"
    """The validation metric by which checkpoints are chosen."""
    monitor_mode: ClassVar[Literal["min", "max"]] = "min"

    def __init__(
        self,
        net: Buildable,
        *,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 0,
        decay_fraction: float = 1.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        self.lr, self.weight_decay = lr, weight_decay
        self.warmup_steps, self.decay_fraction = warmup_steps, decay_fraction
        self.compile_net = compile

    def forward(self, *args: Any) -> Any:
        """Run the network."""
        return self.net(*args)

    def on_fit_start(self) -> None:
        """Keep freed memory, and compile if asked to."""
        keep_freed_memory()
        if not torch.cuda.is_available():
            # as Lightning sets it, every optimiser step loads the driver's library anew to look for a GPU
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
        if self.compile_net:
            self.compile_step()

    def compile_step(self) -> None:
        """Compile the network, in place: the names of the weights stay as they are."""
        self.net.compile(options=COMPILE)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW in two groups, with the schedule stepped once an optimiser step."""
        keep = self.net.no_weight_decay() if hasattr(self.net, "no_weight_decay") else set()
        named = [(n, p) for n, p in self.net.named_parameters() if p.requires_grad]
        decayed = [p for n, p in named if p.dim() > 1 and n not in keep]
        spared = [p for n, p in named if p.dim() <= 1 or n in keep]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": spared, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, fused=True)
        total = int(self.trainer.estimated_stepping_batches)

        def rate(step: int) -> float:
            if step < self.warmup_steps:
                return (step + 1) / self.warmup_steps
            decay_steps = max(1, round(self.decay_fraction * total))
            progress = min(1.0, max(0.0, (step - (total - decay_steps)) / decay_steps))
            return 0.5 * (1.0 + math.cos(math.pi * progress)) if self.decay_fraction > 0 else 1.0

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what :func:`gated.load` needs: how to build the network and the facts of its data, all plain."""
        data = getattr(self.trainer, "datamodule", None)
        checkpoint["gated"] = {
            "format": FORMAT,
            "module": public_path(type(self)),
            "net": self.net.spec(),
            "facts": data.facts() if data is not None else {},
        }
