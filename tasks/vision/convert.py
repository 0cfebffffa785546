"""Weights of other people's models, renamed for ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from gated.errors import UserError

_LINEAR = ("weight", "bias")


def from_timm_convit(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Check a state dict of timm's ConViT (the authors use the same names) and return it for our :class:`ConViT`.

    The names of our parameters are theirs, so nothing is renamed: what is checked is that all of them are there, for
    whatever depth and number of local layers the dict has, and nothing else.

    Raises:
        UserError: naming the keys that are missing and the keys that are not understood.
    """
    depth = 1 + max((int(k.split(".")[1]) for k in state_dict if k.startswith("blocks.")), default=-1)
    if depth == 0:
        raise UserError(
            "timm/convit: this is no ConViT state dict: it has no key blocks.0.*",
            found=", ".join(sorted(state_dict)[:5]) or "an empty dict",
            hint="a training checkpoint wraps it: pass checkpoint['model'] or checkpoint['state_dict']",
        )
    local = [i for i in range(depth) if f"blocks.{i}.attn.gating_param" in state_dict]
    wanted = set(_names(depth, local))
    # whether the projections have biases is an option of the mixers, and a backbone without a classifier has no head
    optional = {f"blocks.{i}.attn.{name}.bias" for i in range(depth) for name in ("qk", "v", "qkv")}
    optional |= {f"head.{part}" for part in _LINEAR}
    missing = sorted(wanted - set(state_dict) - optional)
    unknown = sorted(set(state_dict) - wanted - optional)
    if missing or unknown:
        raise UserError(
            "timm/convit: the state dict does not fit",
            expected="missing keys: " + (", ".join(missing) or "none"),
            found="keys that are not understood: " + (", ".join(unknown) or "none"),
        )
    return {name.replace(".attn.", ".mixer."): tensor for name, tensor in state_dict.items()}


def _names(depth: int, local: list[int]) -> Iterator[str]:
    yield from ("cls_token", "pos_embed")
    for module in ("patch_embed.proj", "norm", "head"):
        yield from (f"{module}.{part}" for part in _LINEAR)
    for i in range(depth):
        for module in ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2"):
            yield from (f"blocks.{i}.{module}.{part}" for part in _LINEAR)
        projections = ("qk.weight", "v.weight", "pos_proj.weight", "pos_proj.bias", "gating_param")
        yield from (f"blocks.{i}.attn.{name}" for name in (projections if i in local else ("qkv.weight",)))
