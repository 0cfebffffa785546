"""Weights on disk: nothing is ever unpickled, and a file can only name classes of this suite."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gated.core.nn.buildable import Buildable
from gated.engine.files import atomic_path
from gated.errors import UserError
from gated.registry import build

FORMAT = 1
"""Version of the layout of ``config.json`` and of the "gated" entry of a Lightning checkpoint."""


def load(path: str | Path) -> Buildable:
    """Return the network of a checkpoint, in eval mode, with its facts as ``net.facts``.

    Args:
        path: a Lightning ``.ckpt`` of a run, or a folder with ``model.safetensors`` and ``config.json``.

    Raises:
        UserError: nothing there, not a checkpoint of this suite, or weights that do not fit.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"checkpoint not found: {path}",
            expected="a .ckpt file, or a folder with model.safetensors and config.json",
            hint="look below runs/<task>/<name>/<time>/checkpoints/",
        )
    meta, weights = _read_folder(path) if path.is_dir() else _read_lightning(path)
    if meta.get("format") != FORMAT:
        raise UserError(f"{path} has an unknown format", expected=str(FORMAT), found=str(meta.get("format")))
    net = build(meta["net"], trusted=False)
    assert isinstance(net, Buildable)
    load_strictly(net, weights, str(path))
    net.facts = meta["facts"]
    return net.eval()


def save_weights(net: Buildable, facts: dict[str, Any], folder: str | Path) -> Path:
    """Write ``model.safetensors`` and ``config.json`` (how to build the network, facts of its data) into ``folder``."""
    folder = Path(folder)
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(weights, temporary)
    with atomic_path(folder / "config.json") as temporary:
        meta = {"format": FORMAT, "net": net.spec(), "facts": facts}
        temporary.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return folder


def load_strictly(net: torch.nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    """Load ``weights`` into ``net``; every name and every shape must fit.

    Raises:
        UserError: listing what is missing, unknown or of another shape.
    """
    own = net.state_dict()
    wrong = [f"missing {n}" for n in own if n not in weights] + [f"unknown {n}" for n in weights if n not in own]
    wrong += [
        f"{n} is {list(t.shape)} and must be {list(own[n].shape)}"
        for n, t in weights.items()
        if n in own and own[n].shape != t.shape
    ]
    if wrong:
        raise UserError(
            f"the weights of {source} do not fit {type(net).__name__}",
            expected=f"{len(own)} tensors",
            found="; ".join(wrong[:6]) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else ""),
            hint="give the options that it was trained with: `-c RUN/config.yaml` of its run folder has them",
        )
    net.load_state_dict(weights)


def read_lightning(path: Path) -> dict[str, Any]:
    """Read a ``.ckpt`` as plain data and tensors.

    Raises:
        UserError: the file is not one, or it holds anything but plain data and tensors.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is not a checkpoint that can be read safely",
            expected="a .ckpt of this suite, or a folder with model.safetensors and config.json",
            found=str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__,
        ) from None
    if not isinstance(checkpoint, dict) or "gated" not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(
            f"{path} is not a checkpoint of this suite",
            expected="a .ckpt written by `gated <task> fit`",
            hint="gated.convert_weights(state_dict, source) takes weights of other projects",
        )
    return checkpoint


def _read_lightning(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    checkpoint = read_lightning(path)
    state = checkpoint["state_dict"]
    return checkpoint["gated"], {n.removeprefix("net."): t for n, t in state.items() if n.startswith("net.")}


def _read_folder(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        meta = json.loads((path / "config.json").read_text(encoding="utf-8"))
        weights = load_file(path / "model.safetensors")
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is not a checkpoint folder",
            expected="model.safetensors and config.json",
            found=f"no {Path(error.filename).name if error.filename else 'model.safetensors'}",
            hint="give the .ckpt file of a run, or a folder written by `export`",
        ) from None
    except (json.JSONDecodeError, SafetensorError) as error:
        raise UserError(f"{path} is damaged", found=str(error), hint="export the checkpoint again") from None
    if not isinstance(meta, dict):
        raise UserError(f"{path}/config.json is damaged", expected="an object", found=type(meta).__name__)
    return meta, weights
