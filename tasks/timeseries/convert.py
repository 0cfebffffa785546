"""Weights of the official Gateformer code, renamed for ours."""

from __future__ import annotations

import re

import torch

from gated.core.nn.patching import sinusoidal_table
from gated.errors import UserError

_FIXED = {
    "patch_embedding.value_embedding.weight": "patches.embed.weight",
    "project_embedding.value_embedding": "window_embed",
    "head.linear": "patch_head",
    "gate_w1": "temporal_gate.from_a",
    "gate_w2": "temporal_gate.from_b",
    "gate_w3": "variate_gate.from_a",
    "gate_w4": "variate_gate.from_b",
    "projection": "projection",
}
_LAYER = {
    "self_attn.in_proj_weight": "mixer.qkv.weight",
    "self_attn.in_proj_bias": "mixer.qkv.bias",
    "self_attn.out_proj.weight": "mixer.proj.weight",
    "self_attn.out_proj.bias": "mixer.proj.bias",
    "linear1": "mlp.fc1",
    "linear2": "mlp.fc2",
    "norm1": "norm1",
    "norm2": "norm2",
}
_STACKS = {"enc_temporal": "temporal_layers", "enc_variate": "variate_layers"}
_POSITIONS = "patch_embedding.position_embedding.pe"


def from_official_gateformer(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of the official ``Gateformer`` for :class:`tasks.timeseries.models.Gateformer`.

    The official table of positions ``[1, 5000, d]`` is a constant that ours computes; it is checked, not carried.

    Raises:
        UserError: a name is not understood or missing, or the positions are not the sinusoidal ones.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    positions = state.pop(_POSITIONS, None)
    if positions is not None:
        table = sinusoidal_table(positions.shape[-2], positions.shape[-1])
        # the official table is computed in single precision, which shows in its late rows
        if not torch.allclose(positions.float().cpu().flatten(0, -2), table, atol=2e-3):
            raise UserError(
                f"official/gateformer: {_POSITIONS} does not hold the sinusoidal table of the official code"
            )
    renamed = {name: _rename(name) for name in state}
    unknown = sorted(name for name, ours in renamed.items() if ours is None)
    missing = sorted(_wanted(state) - set(state))
    if unknown or missing:
        raise UserError(
            "official/gateformer: these weights are not a Gateformer of the official code",
            expected="the state dict of nyuolab/Gateformer's model",
            found="; ".join([f"missing {n}" for n in missing[:8]] + [f"unknown {n}" for n in unknown[:8]]),
        )
    return {ours: state[name] for name, ours in renamed.items() if ours is not None}


def _rename(name: str) -> str | None:
    """Return our name for an official one, or None."""
    if name in _FIXED:
        return _FIXED[name]
    stem, _, kind = name.rpartition(".")
    if stem in _FIXED and kind in ("weight", "bias"):
        return f"{_FIXED[stem]}.{kind}"
    match = re.fullmatch(r"(enc_temporal|enc_variate)\.layers\.(\d+)\.(.+)", name)
    if match is None:
        return None
    stack, index, rest = match.groups()
    part, _, kind = rest.rpartition(".")
    ours = _LAYER.get(rest) or (f"{_LAYER[part]}.{kind}" if part in _LAYER and kind in ("weight", "bias") else None)
    return ours and f"{_STACKS[stack]}.{index}.{ours}"


def _wanted(state: dict[str, torch.Tensor]) -> set[str]:
    """Return every official name that a model as deep as the one in ``state`` has."""
    depths = [int(n.split(".")[2]) + 1 for n in state if re.match(r"enc_(temporal|variate)\.layers\.\d+\.", n)]
    parts = [*_FIXED, *(f"{s}.layers.{i}.{p}" for s in _STACKS for i in range(max(depths, default=1)) for p in _LAYER)]
    return {n for p in parts for n in ([p] if p.endswith(("weight", "bias")) else [f"{p}.weight", f"{p}.bias"])}
