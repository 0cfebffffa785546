"""``gated vision``: a table of strings, so that ``--help`` imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from gated.cli.main import dispatch, training_commands

COMMANDS = {
    "fit": ("tasks.vision.cli:fit", "train a classifier or a segmenter on a folder of images"),
    "validate": ("tasks.vision.cli:validate", "judge a checkpoint on the validation images"),
    "test": ("tasks.vision.cli:test", "judge a checkpoint on the held-out images"),
    "predict": ("tasks.vision.predict:main", "images in, labels as CSV (or masks as PNG) out"),
    "explain": ("tasks.vision.explain:main", "a picture of where the network looks and what its gates do"),
    "export": ("tasks.vision.export:main", "weights for other programs: safetensors, ONNX, torch.export"),
}

_NET = "model.init_args.net.init_args"
LINKS = [("data.num_classes", f"{_NET}.num_classes"), ("data.in_chans", f"{_NET}.in_chans")]

fit, validate, test = training_commands("vision", LINKS)


def main(argv: Sequence[str]) -> int:
    """Run one command of the table."""
    return dispatch("gated vision", COMMANDS, argv)
