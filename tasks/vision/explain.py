"""A picture of where a network looks and what its gates do."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from gated.cli.main import Parser
from gated.engine.checkpoint import load
from gated.errors import UserError
from tasks.vision.models import ConViT, GatedUNet
from tasks.vision.predict import facts_of, gather, prepare

MAX_HEADS = 8
"""Heads that are drawn; more would be too small to see."""


def main(argv: list[str]) -> int:
    """``gated vision explain``."""
    parser = Parser("gated vision explain", description="Draw where a network looks and what its gates do.")
    parser.add_argument("image", metavar="IMAGE", help="image file")
    parser.add_argument("--ckpt", required=True, help="a .ckpt of a run, or an exported folder")
    parser.add_argument("-o", "--out", default="map.png", help="the picture, a .png (map.png)")
    args = parser.parse_args(argv)
    out = Path(args.out)
    if out.suffix.lower() != ".png":
        raise UserError(f"the picture must be a .png, not {out}", hint=f"use -o {out.with_suffix('.png')}")
    net = load(args.ckpt)
    explain(net, gather([args.image])[0], out)
    print(f"written: {out}")
    return 0


def explain(net: nn.Module, path: Path, out: Path) -> Path:
    """Draw the attention of a ConViT or the gates of a U-Net for one image file.

    Args:
        net: a network from :func:`gated.load`.
        path: image file.
        out: PNG to write.

    Raises:
        UserError: this kind of network has neither.
    """
    from tasks.vision.images import read_image

    image = prepare(net, read_image(path, facts_of(net)["in_chans"]))
    if isinstance(net, ConViT):
        return _explain_convit(net, image, path.name, out)
    if isinstance(net, GatedUNet):
        return _explain_unet(net, image, path.name, out)
    raise UserError(f"explain has no picture for a {type(net).__name__}", expected="a ConViT or a GatedUNet")


def _explain_convit(net: ConViT, image: torch.Tensor, name: str, out: Path) -> Path:
    """The image and the gates; what the class token reads; then one row a local layer: its heads, from the middle."""
    from tasks.vision import figures

    maps = net.attention_maps(image[None])
    gates = net.gate_values()
    rows, columns = net.patch_embed.grid(*image.shape[1:])
    with torch.inference_mode():
        probability = net(image[None])[0].softmax(0)
    label = facts_of(net)["labels"][int(probability.argmax())]

    # (layer, query token, what it is): the class token of the last layer, the middle patch of three local layers
    middle = (rows // 2) * columns + columns // 2
    local = [layer for layer in maps if layer < net.num_local_layers]
    shown = sorted({*local[:1], *local[len(local) // 2 :][:1], *local[-1:]})
    queries = [(layer, 0, "class token") for layer in maps if layer >= net.num_local_layers][-1:]
    queries += [(layer, middle, "middle patch") for layer in shown]
    num_heads = min(MAX_HEADS, max((m.shape[1] for m in maps.values()), default=1))

    figure = figures.new_figure(max(7.0, 1.7 * num_heads), 2.7 + 1.95 * len(queries))
    top, below = figure.subfigures(2, 1, height_ratios=[2.7, max(1.95 * len(queries), 0.1)])
    axes = top.subplots(1, 2 if gates else 1, squeeze=False)[0]
    figures.show_image(axes[0], image, f"{name}\n{label}, probability {probability.max():.2f}")
    if gates:
        figures.gate_table(axes[1], gates, "share of position in each head")
    grid = below.subplots(len(queries), num_heads, squeeze=False) if queries else []
    for line, (layer, token, what) in zip(grid, queries, strict=True):
        line[0].set_ylabel(f"layer {layer + 1}\n{what} reads", fontsize=8)
        for head, axis in enumerate(line):
            figures.bare(axis)
            if head < maps[layer].shape[1]:
                share = f", gate {gates[layer][head]:.2f}" if layer in gates else ""
                # the class token does not lie on the grid
                weights = maps[layer][0, head, token, -rows * columns :].unflatten(0, (rows, columns))
                figures.overlay(axis, image, weights, f"head {head + 1}{share}")
    return figures.save(figure, out)


def _explain_unet(net: GatedUNet, image: torch.Tensor, name: str, out: Path) -> Path:
    """The image, the predicted classes and one picture a gate, coarsest first."""
    from tasks.vision import figures

    if net.spatial_dims != 2:
        raise UserError("explain draws images, and this network takes volumes", expected="a 2-D network")
    with torch.inference_mode():
        logits, alphas = net.forward_with_gates(image[None])
    panels = [
        (f"level {4 - i}" + (f", gate {g + 1}" if alpha.shape[1] > 1 else ""), alpha[0, g])
        for i, alpha in enumerate(alphas)
        for g in range(alpha.shape[1])
    ]
    height, width = image.shape[1:]
    figure = figures.new_figure(2.6 * (2 + len(panels)), 0.4 + 2.6 * height / width)
    axes = figure.subplots(1, 2 + len(panels))
    figures.show_image(axes[0], image, name)
    classes = logits[0].argmax(0)
    figures.overlay(axes[1], image, classes, "predicted", top=net.num_classes - 1)
    for axis, (title, alpha) in zip(axes[2:], panels, strict=True):
        figures.overlay(axis, image, alpha, f"{title}: {alpha.mean():.2f} open", top=1.0)
    return figures.save(figure, out)
