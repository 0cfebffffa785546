"""How the Gateformer of a command is built and trained."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.timeseries.request import whole


@dataclass(frozen=True)
class Recipe:
    """How the model is built and trained.

    It is trained for a fixed number of steps with a rate that falls to zero, and not stopped by a validation part: so
    every row before the origin can serve for training, and the rows after it for judging alone.

    Attributes:
        input_size: steps to look back; two seasons or two horizons where not given.
        d_model: size of a token.
        d_ff: hidden size of the MLPs.
        num_layers: layers over time, and as many over series.
        dropout: everywhere.
        lr: peak learning rate.
        epochs: at most as many passes over the training windows.
        steps: at most as many batches in all.
        seed: of weights, dropout and order.
    """

    input_size: int | None = None
    d_model: int = 64
    d_ff: int = 64
    num_layers: int = 1
    dropout: float = 0.3
    lr: float = 5e-4
    epochs: int = 30
    steps: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: one is not whole or too small.
        """
        for name in ("input_size", "steps", "epochs", "d_model", "d_ff", "num_layers"):
            if (value := getattr(self, name)) is not None:
                whole(name, value)
        whole("seed", self.seed, least=0)
