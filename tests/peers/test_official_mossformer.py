"""Ours beside the official MossFormer (modelscope) and MossFormer2 (clearvoice); `make test-peers` runs this."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
from modelscope.models.audio.separation.mossformer import MossFormer as OfficialMossFormer
from torch import nn

from gated.engine.convert import convert_weights
from tasks.speech.models import MossFormer, MossFormer2

DIM, DEPTH, ENCODER_DIM = 64, 3, 64
SMALL = {"depth": DEPTH, "encoder_dim": ENCODER_DIM}


def official_mossformer2_class() -> type[nn.Module]:
    """Import the network alone: clearvoice's own __init__ wants numpy < 2 and packages that the network doesn't use."""
    spec = importlib.util.find_spec("clearvoice")
    assert spec is not None
    assert spec.submodule_search_locations
    for name, folder in (("clearvoice", "."), ("clearvoice.models", "models")):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(spec.submodule_search_locations[0]) / folder)]
        sys.modules[name] = package
    return importlib.import_module("clearvoice.models.mossformer2_ss.mossformer2").MossFormer


OfficialMossFormer2 = official_mossformer2_class()


def official_mossformer2(num_speakers: int) -> nn.Module:
    return OfficialMossFormer2(ENCODER_DIM, DIM, num_blocks=DEPTH, kernel_size=16, num_spks=num_speakers)


def official_mossformer(num_speakers: int) -> nn.Module:
    return OfficialMossFormer(
        "unused",
        kernel_size=16,
        stride=8,
        bias=False,
        in_channels=ENCODER_DIM,
        out_channels=DIM,
        d_model=DIM,
        num_blocks=DEPTH,
        attn_dropout=0.1,
        group_size=256,
        query_key_dim=128,
        expansion_factor=4.0,
        causal=False,
        norm="ln",
        num_spks=num_speakers,
    )


def perturbed(official: nn.Module) -> nn.Module:
    """Away from the initial values, where the scores of the attention are nearly zero and the gains are all one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in official.named_parameters():
            if name.endswith("gamma"):
                parameter.normal_(0, 1)
            elif parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return official.eval()


def differences(official: nn.Module, ours: nn.Module, source: str, length: int) -> tuple[float, float]:
    """Largest difference over the largest output, and how much of the output the attention makes."""
    ours.load_state_dict(convert_weights(official.state_dict(), source), strict=True)
    ours.eval()
    mixture = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    with torch.no_grad():
        theirs = official(mixture)
        expected_BST = torch.stack(theirs, 1) if isinstance(theirs, list) else theirs.transpose(1, 2)
        actual_BST = ours(mixture)
        for layer in ours.layers:
            getattr(layer, "mixer", layer).gamma.zero_()
            getattr(layer, "mixer", layer).beta.zero_()
        without_BST = ours(mixture)
    assert actual_BST.shape == expected_BST.shape
    assert torch.isfinite(expected_BST).all()
    largest = expected_BST.abs().max()
    return float((actual_BST - expected_BST).abs().max() / largest), float(
        (actual_BST - without_BST).abs().max() / largest
    )


@pytest.mark.parametrize("num_speakers", [2, 3])
@pytest.mark.parametrize("length", [16, 4000, 16003, 70000])
def test_mossformer_is_the_official_one(length: int, num_speakers: int) -> None:
    official = perturbed(official_mossformer(num_speakers))
    ours = MossFormer(num_speakers, DIM, **SMALL)
    difference, attention = differences(official, ours, "official/mossformer", length)
    print(f"MossFormer, {num_speakers} speakers, {length} samples: {difference:.1e} (attention makes {attention:.1e})")
    assert difference < 1e-5
    assert attention > 1e-3


@pytest.mark.parametrize("num_speakers", [2, 3])
@pytest.mark.parametrize("length", [24, 4000, 16003, 70000])  # 16 is one frame, where theirs raises
def test_mossformer2_is_the_official_one(length: int, num_speakers: int) -> None:
    official = perturbed(official_mossformer2(num_speakers))
    ours = MossFormer2(num_speakers, DIM, **SMALL)
    difference, attention = differences(official, ours, "clearvoice/mossformer2", length)
    print(f"MossFormer2, {num_speakers} speakers, {length} samples: {difference:.1e} (attention makes {attention:.1e})")
    assert difference < 1e-5
    assert attention > 1e-3
