"""Weights and graphs for other programs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from gated.cli.main import Parser
from gated.engine.checkpoint import load, save_weights
from gated.engine.files import atomic_path
from gated.errors import UserError
from tasks.vision.predict import facts_of

TOLERANCE = 1e-4
"""Largest difference of logits between the exported graph and the network, fp32."""


def main(argv: list[str]) -> int:
    """``gated vision export``."""
    parser = Parser("gated vision export", description="Write a trained network for other programs.")
    parser.add_argument("--ckpt", required=True, help="a .ckpt of a run, or an exported folder")
    parser.add_argument("--format", choices=("safetensors", "onnx", "pt2"), default="safetensors")
    parser.add_argument(
        "-o", "--out", required=True, help="file; for safetensors the folder of weights and config.json"
    )
    args = parser.parse_args(argv)
    net, out = load(args.ckpt), Path(args.out)
    {"safetensors": export_safetensors, "onnx": export_onnx, "pt2": export_pt2}[args.format](net, out)
    print(f"written: {out}")
    return 0


def export_safetensors(net: nn.Module, out: Path) -> None:
    """Write ``out/model.safetensors`` and ``out/config.json``, which ``gated.load`` and ``predict --ckpt`` read."""
    if out.suffix:
        raise UserError(
            f"safetensors are written into a folder, not {out}",
            expected="a folder for model.safetensors and config.json",
            hint=f"use -o {out.with_suffix('')}",
        )
    save_weights(net, facts_of(net), out)


def export_pt2(net: nn.Module, out: Path) -> None:
    """Write a ``torch.export`` program that takes any number of images of the training size."""
    with atomic_path(_with_suffix(out, ".pt2")) as temporary:
        program = _program(net)
        _compare(net, program.module())
        torch.export.save(program, temporary)


def export_onnx(net: nn.Module, out: Path) -> None:
    """Write an ONNX graph that takes any number of images of the training size.

    Raises:
        UserError: the packages of the extra ``export`` are missing.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX needs the package {error.name}", hint="pip install 'gated[export]'") from None
    with atomic_path(_with_suffix(out, ".onnx")) as temporary:
        torch.onnx.export(_program(net), dynamo=True, external_data=False).save(temporary)
        session = onnxruntime.InferenceSession(temporary.read_bytes(), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        _compare(net, lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0]))


def _program(net: nn.Module) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=4096)
    return torch.export.export(net, (_example(net, 2),), dynamic_shapes=({0: batch},))


def _example(net: nn.Module, batch: int) -> torch.Tensor:
    facts = facts_of(net)
    height, width = facts.get("img_size", (256, 256))
    return torch.randn(batch, facts["in_chans"], height, width, generator=torch.Generator().manual_seed(0))


def _compare(net: nn.Module, exported: object) -> None:
    """Raise if the exported graph does not give the logits of the network."""
    images = _example(net, 3)
    with torch.no_grad():
        difference = (net(images) - exported(images)).abs().max().item()
    if not difference <= TOLERANCE:
        raise RuntimeError(f"the exported graph is off by {difference:.2e}, more than {TOLERANCE}")


def _with_suffix(out: Path, suffix: str) -> Path:
    if out.suffix != suffix:
        raise UserError(f"the file must end in {suffix}", found=str(out), hint=f"use -o {out.with_suffix(suffix)}")
    return out
