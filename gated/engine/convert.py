"""Weights of other projects, renamed for ours."""

from __future__ import annotations

from importlib import import_module

import torch

from gated.errors import UserError, did_you_mean

SOURCES = {
    "clearvoice/mossformer2": "tasks.speech.convert:from_clearvoice_mossformer2",
    "official/gateformer": "tasks.timeseries.convert:from_official_gateformer",
    "official/mossformer": "tasks.speech.convert:from_official_mossformer",
    "timm/convit": "tasks.vision.convert:from_timm_convit",
}


def convert_weights(state_dict: dict[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Return ``state_dict`` with the names (and layouts) of our model, ready for a strict ``load_state_dict``.

    Args:
        state_dict: weights as the other project saved them.
        source: one of ``gated.engine.convert.SOURCES``, such as ``"timm/convit"``.

    Raises:
        UserError: the source is unknown, or a name is missing or not understood; the message lists them.
    """
    if source not in SOURCES:
        raise UserError(f"convert_weights: unknown source {source!r}", hint=did_you_mean(source, SOURCES))
    module, function = SOURCES[source].split(":")
    converted: dict[str, torch.Tensor] = getattr(import_module(module), function)(state_dict)
    return converted
