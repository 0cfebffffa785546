"""One contract for every named model, by enumeration: a new one is covered the moment it exists."""

from __future__ import annotations

import json

import pytest
import torch

import gated
from gated.core.nn.buildable import Buildable
from gated.errors import UserError
from gated.registry import build

NAMES = gated.list_models()
SMALL = {  # options that make a model small enough to run here; what a model of that family is fed
    "convit": ({"num_classes": 5, "img_size": 32, "depth": 3, "num_local_layers": 2, "embed_dim": 36}, (2, 3, 32, 32)),
    "attention_unet_2d": ({"num_classes": 2, "in_chans": 1}, (1, 1, 30, 21)),
    "attention_unet_3d": ({"num_classes": 2, "in_chans": 1}, (1, 1, 17, 16, 16)),
    "mossformer": ({"dim": 8, "depth": 2, "encoder_dim": 8}, (2, 300)),
    "gateformer": ({"input_size": 24, "horizon": 6, "d_model": 8, "d_ff": 8, "num_heads": 2}, (2, 24, 3)),
}
TRAINABLE = {
    "convit_tiny": 5_710_512,
    "convit_tiny_plus": 9_972_912,
    "convit_small": 27_777_322,
    "convit_small_plus": 48_979_882,
    "convit_base": 86_540_040,
    "convit_base_plus": 153_134_856,
    "mossformer_l": 42_101_834,
    "mossformer_m": 25_195_341,
    "mossformer_s": 11_260_490,
}


def family(name: str) -> tuple[dict, tuple[int, ...]]:
    (found,) = [SMALL[k] for k in SMALL if name.startswith(k)]
    return found


def test_the_named_models_are_all_there() -> None:
    assert {"gateformer", "attention_unet_2d", "attention_unet_3d", "mossformer", *TRAINABLE} <= set(NAMES)
    assert gated.list_models("convit*") == sorted(n for n in NAMES if n.startswith("convit"))


@pytest.mark.parametrize("name", TRAINABLE)
def test_trainable_parameters(name: str) -> None:
    options = {"num_classes": 1000} if name.startswith("convit") else {"num_speakers": 2}
    with torch.device("meta"):
        net = gated.create_model(name, **options)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == TRAINABLE[name]


def test_mossformer_l_for_three_speakers() -> None:
    with torch.device("meta"):
        net = gated.create_model("mossformer_l", num_speakers=3)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 42_364_490


@pytest.mark.parametrize("name", NAMES)
def test_spec_forward_and_gradients(name: str) -> None:
    options, shape = family(name)
    if name.startswith("convit"):
        options = {**options, "num_heads": 4}
    net = gated.create_model(name, **options)
    assert isinstance(net, Buildable)
    spec = json.loads(json.dumps(net.spec()))
    again = build(spec, trusted=False)
    again.load_state_dict(net.state_dict())
    x = torch.randn(shape)
    assert torch.equal(net.eval()(x), again.eval()(x))
    net.train()(x).square().mean().backward()
    missing = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_names_a_near_miss(name: str) -> None:
    options, _ = family(name)
    wrong = next(iter(options))
    with pytest.raises(UserError, match=f"has no option '{wrong}x'(.|\n)*{wrong}"):
        gated.create_model(name, **{f"{wrong}x": 1})


def test_an_unknown_name_names_a_near_miss() -> None:
    with pytest.raises(UserError, match="did you mean 'convit_tiny'"):
        gated.create_model("convit_tny")
    with pytest.raises(UserError, match="timm/convit"):
        gated.convert_weights({}, "timm/convt")
