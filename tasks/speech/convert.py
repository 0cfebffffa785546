"""Weights of the official MossFormer and MossFormer2, renamed for ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from gated.errors import UserError

# official name of a tensor of the masking network: ours
_NETWORK = {
    "norm.weight": "norm_in.weight",
    "norm.bias": "norm_in.bias",
    "conv1d_encoder.weight": "project_in.weight",
    "pos_enc.scale": "position_scale",
    "conv1d_out.weight": "split_speakers.weight",
    "conv1d_out.bias": "split_speakers.bias",
    "conv1_decoder.weight": "project_out.weight",
    "prelu.weight": "activation.weight",
    "output.0.weight": "output.weight",
    "output.0.bias": "output.bias",
    "output_gate.0.weight": "output_gate.weight",
    "output_gate.0.bias": "output_gate.bias",
}
_ATTENTION = {"qk_offset_scale.gamma": "gamma", "qk_offset_scale.beta": "beta"} | {
    f"{module}.mdl.{theirs}": f"{module}.{ours}"
    for module in ("to_hidden", "to_qk", "to_out")
    for theirs, ours in {
        "0.g": "norm.g",
        "1.weight": "linear.weight",
        "1.bias": "linear.bias",
        "3.sequential.1.conv.weight": "conv.conv.weight",
    }.items()
}
_MEMORY = {
    f"{theirs}.{part}": f"{ours}.{part}"
    for theirs, ours in {
        "conv1.0": "project_in",
        "norm1": "norm_in",
        "gated_fsmn.to_u.mdl.0": "to_u.norm",
        "gated_fsmn.to_u.mdl.1": "to_u.linear",
        "gated_fsmn.to_v.mdl.0": "to_v.norm",
        "gated_fsmn.to_v.mdl.1": "to_v.linear",
        "gated_fsmn.fsmn.linear": "memory.linear",
        "norm2": "norm_out",
        "conv2": "project_out",
        **{f"gated_fsmn.fsmn.conv.norm{i + 1}": f"memory.norms.{i}" for i in range(2)},
    }.items()
    for part in ("weight", "bias")
} | {
    "conv1.1.weight": "activation.weight",
    "gated_fsmn.to_u.mdl.3.sequential.1.conv.weight": "to_u.conv.conv.weight",
    "gated_fsmn.to_v.mdl.3.sequential.1.conv.weight": "to_v.conv.conv.weight",
    "gated_fsmn.fsmn.project.weight": "memory.project.weight",
    **{f"gated_fsmn.fsmn.conv.conv{i + 1}.weight": f"memory.convs.{i}.weight" for i in range(2)},
    **{f"gated_fsmn.fsmn.conv.prelu{i + 1}.weight": f"memory.activations.{i}.weight" for i in range(2)},
}
# convolutions that are linear layers of ours, or 1-d ones of ours: the last axis has length 1 and goes
_KERNEL_1 = re.compile(
    r".*(conv1d_encoder|conv1d_out|conv1_decoder|output\.0|output_gate\.0|fsmn\.\d+\.conv(1\.0|2)|fsmn\.conv\.conv\d)\.weight"
)


def from_official_mossformer(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights of the official v1 code (modelscope) for :class:`tasks.speech.models.MossFormer`.

    Args:
        state_dict: of modelscope's module, or its three files merged: ``encoder.*`` from encoder.bin, ``decoder.*``
            from decoder.bin and ``masknet.*`` from masknet.bin (``mask_net.*`` in the module).

    Raises:
        UserError: names are missing or not understood, or frequencies are not those of the official code.
    """
    return _convert(
        _normalise("official/mossformer", state_dict, {"module.": "", "masknet.": "mask_net."}),
        "official/mossformer",
        fixed={"encoder.conv1d.weight": "encoder.weight", "decoder.weight": "decoder.weight"},
        norms={"mdl.att_mdl.norm.norm": "norm_out", "mdl.att_norm": "norm_skip"},
        layers={"mdl.att_mdl.mossformerM.layers": ("", _ATTENTION)},
    )


def from_clearvoice_mossformer2(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights of ClearerVoice's MossFormer2 for :class:`tasks.speech.models.MossFormer2`.

    Args:
        state_dict: names as in ``model.enc.*``, ``model.dec.*``, ``model.mask_net.*``; ``module.`` may stand before
            them and ``model.`` may be left out. In the published file it is the entry ``"model"``.

    Raises:
        UserError: names are missing or not understood, or frequencies are not those of the official code.
    """
    stem = "mdl.intra_mdl.mossformerM."
    return _convert(
        _normalise("clearvoice/mossformer2", state_dict, {"module.": "", "model.": ""}),
        "clearvoice/mossformer2",
        fixed={"enc.conv1d.weight": "encoder.weight", "dec.weight": "decoder.weight"},
        norms={"mdl.intra_mdl.norm": "norm_out", "mdl.intra_norm": "norm_skip"},
        layers={f"{stem}layers": ("mixer.", _ATTENTION), f"{stem}fsmn": ("memory.", _MEMORY)},
    )


def _normalise(
    source: str, state_dict: Mapping[str, torch.Tensor], prefixes: dict[str, str]
) -> dict[str, torch.Tensor]:
    """Replace every prefix of ``prefixes``, in that order, that a name begins with."""
    state = {}
    for name, tensor in state_dict.items():
        short = name
        for theirs, ours in prefixes.items():
            short = ours + short.removeprefix(theirs) if short.startswith(theirs) else short
        if short in state:
            raise UserError(f"{source}: the state dict has {short} twice, under different prefixes", found=name)
        state[short] = tensor
    return state


def _convert(
    state: dict[str, torch.Tensor],
    source: str,
    *,
    fixed: dict[str, str],
    norms: dict[str, str],
    layers: dict[str, tuple[str, dict[str, str]]],
) -> dict[str, torch.Tensor]:
    """Rename every tensor of ``state``, and raise unless all are there and understood.

    Args:
        state: tensors, their prefixes normalised.
        source: for the messages.
        fixed: names outside of the masking network, theirs: ours.
        norms: norms after the layers, theirs inside the masking network: ours.
        layers: theirs inside the masking network up to the index of a layer: (ours after it, the names in a layer).
    """
    inside = _NETWORK | {f"{t}.{part}": f"{o}.{part}" for t, o in norms.items() for part in ("weight", "bias")}
    names = fixed | {f"mask_net.{theirs}": ours for theirs, ours in inside.items()}
    constants = {"mask_net.pos_enc.inv_freq"}
    depths = [_depth(state, f"mask_net.{prefix}.") for prefix in layers]
    for i in range(max(1, *depths)):
        for prefix, (ours, table) in layers.items():
            at = f"mask_net.{prefix}.{i}."
            names |= {f"{at}{theirs}": f"layers.{i}.{ours}{name}" for theirs, name in table.items()}
            constants.add(f"{at}rotary_pos_emb.freqs")
    wide = {n for n in state if _KERNEL_1.fullmatch(n) and (state[n].dim() < 3 or state[n].shape[-1] != 1)}
    problems = {
        "missing": set(names) - set(state),
        "not understood": set(state) - set(names) - constants,
        "not a kernel of size 1": wide & set(names),
    }
    if any(problems.values()):
        raise UserError(
            f"{source}: the state dict does not fit",
            found="; ".join(f"{problem}: {_list(keys)}" for problem, keys in problems.items() if keys),
            hint="pass the whole state dict of the separation network; a training checkpoint holds it as 'model'",
        )
    for name in sorted(constants & set(state)):
        _check_frequencies(source, name, state[name])
    return {ours: state[n].squeeze(-1) if _KERNEL_1.fullmatch(n) else state[n] for n, ours in names.items()}


def _depth(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    indices = (name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix))
    return 1 + max((int(index) for index in indices if index.isdecimal()), default=-1)


def _list(keys: set[str], limit: int = 12) -> str:
    shown = ", ".join(sorted(keys)[:limit])
    return shown if len(keys) <= limit else f"{shown} and {len(keys) - limit} more"


def _check_frequencies(source: str, name: str, frequencies: torch.Tensor) -> None:
    """Raise unless these are ``10000 ** (-i / n)``, which ours computes instead of storing."""
    steps = torch.arange(frequencies.numel(), dtype=torch.float64) / frequencies.numel()
    if not torch.allclose(frequencies.double().cpu().flatten(), 10_000.0**-steps, rtol=1e-3):
        raise UserError(
            f"{source}: {name} differs from the frequencies of the official code",
            expected="10000 ** (-i / n) for i = 0 ... n - 1",
            found=", ".join(f"{f:.4g}" for f in frequencies.flatten()[:4].tolist()) + ", ...",
        )
