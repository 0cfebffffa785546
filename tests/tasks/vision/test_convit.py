"""ConViT: published sizes, agreement with timm, class token, resolutions, what timm users expect."""

from functools import partial

import pytest
import torch

import gated
from gated.core.mixers import SoftmaxAttention
from gated.core.mixers.gpsa import GPSA
from gated.errors import UserError
from gated.registry import build, create_model, list_models
from tasks.vision.convert import from_timm_convit
from tasks.vision.models import ConViT

SIZES = {
    "convit_tiny": 5_710_512,
    "convit_tiny_plus": 9_972_912,
    "convit_small": 27_777_322,
    "convit_small_plus": 48_979_882,
    "convit_base": 86_540_040,
    "convit_base_plus": 153_134_856,
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(**options):
    defaults = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 3, "num_local_layers": 2}
    return ConViT(5, 1, **(defaults | options)).eval()


@pytest.mark.parametrize(("name", "count"), SIZES.items())
def test_parameter_counts(name, count):
    with torch.device("meta"):
        model = create_model(name)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count
    assert sum(isinstance(m, GPSA) for m in model.modules()) == 10


def perturbed_timm(**options):
    timm = pytest.importorskip("timm")
    model = timm.create_model("convit_tiny", **options).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gating" in name:
                parameter.normal_()
            else:
                parameter.add_(torch.randn_like(parameter) * (0.5 if "pos_proj" in name else 0.03))
    return model


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {}),
        (
            {"img_size": 48, "patch_size": 8, "local_up_to_layer": 2, "depth": 4, "embed_dim": 8, "num_heads": 6},
            {"img_size": 48, "patch_size": 8, "num_local_layers": 2, "depth": 4, "embed_dim": 48, "num_heads": 6},
        ),
    ],
    ids=["tiny", "other size"],
)
def test_agrees_with_timm(theirs, ours):
    common = {"num_classes": 11, "in_chans": 3}
    reference = perturbed_timm(**theirs, **common)
    model = create_model("convit_tiny", **ours, **common).eval()
    model.load_state_dict(gated.convert_weights(reference.state_dict(), "timm/convit"), strict=True)
    side = theirs.get("img_size", 224)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected, logits = reference(images), model(images)
    assert expected.abs().max() > 0.5
    assert (expected - logits).abs().max() < 1e-5


def test_converter_names_what_does_not_fit():
    weights = {k.replace(".mixer.", ".attn."): v for k, v in small().state_dict().items() if k != "norm.bias"} | {
        "extra.weight": torch.zeros(1)
    }
    with pytest.raises(UserError, match=r"(?s)missing keys: norm.bias.*not understood: extra.weight"):
        from_timm_convit(weights)
    with pytest.raises(UserError, match=r"checkpoint\['model'\]"):
        from_timm_convit({"model": torch.zeros(1)})


@pytest.mark.parametrize("num_local_layers", [0, 2, 3, 9])
def test_class_token_is_always_there_and_reads_every_patch(num_local_layers):
    model = small(num_local_layers=num_local_layers)
    images = torch.randn(2, 1, 8, 8, requires_grad=True)
    assert model.forward_features(images).shape == (2, 17, 16)
    model(images).square().sum().backward()
    assert model.cls_token.grad.abs().sum() > 0
    assert (torch.nn.functional.avg_pool2d(images.grad.abs(), 2) > 0).all()


def test_any_resolution_and_shape():
    model = small(img_size=(8, 12))
    for size in ((8, 12), (12, 8), (16, 20), (7, 13)):
        tokens = -(-size[0] // 2) * -(-size[1] // 2)
        assert model.forward_features(torch.randn(1, 1, *size)).shape == (1, 1 + tokens, 16)


def test_positions_are_interpolated_not_cut():
    model = small()
    with torch.no_grad():
        model.pos_embed.copy_(torch.linspace(-1, 1, 4).repeat_interleave(4)[None, :, None].expand(1, 16, 16))
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        model.patch_embed.proj.weight.zero_()
        model.patch_embed.proj.bias.zero_()
        model(torch.zeros(1, 1, 16, 8))
    by_row = seen[0].view(8, 4, 16).mean((1, 2))
    assert (by_row.diff() > 0).all()
    assert by_row[0] < -0.9
    assert by_row[-1] > 0.9


def test_any_mixer_fits_and_survives_a_spec():
    gated = partial(SoftmaxAttention, num_heads=2, output_gate="head")
    model = small(local_mixer=partial(GPSA, num_heads=2, locality_strength=2.0), mixer=gated)
    assert model.blocks[2].mixer.gate is not None
    again = build(model.spec(), trusted=False).eval()
    again.load_state_dict(model.state_dict())
    images = torch.randn(1, 1, 8, 8)
    assert torch.equal(again(images), model(images))


def test_mixers_that_cannot_hold_a_class_token_are_refused():
    with pytest.raises(UserError, match=r"(?s)GPSA does not fit into ConViT.*needs_grid=False"):
        small(mixer=GPSA)
    with pytest.raises(UserError, match=r"(?s)SoftmaxAttention does not fit.*causal=False"):
        small(mixer=partial(SoftmaxAttention, causal=True))
    small(local_mixer=partial(SoftmaxAttention, num_heads=2))


def test_gradient_checkpointing_changes_memory_not_numbers():
    images = torch.randn(2, 1, 8, 8)
    model = small().train()
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(images).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_what_timm_users_expect():
    model = small()
    images = torch.randn(2, 1, 8, 8)
    features = model.forward_features(images)
    torch.testing.assert_close(model.forward_head(features), model(images))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
    assert model.no_weight_decay() == {"pos_embed", "cls_token"}
    model.reset_classifier(7)
    assert model(images).shape == (2, 7)
    assert model.spec()["init_args"]["num_classes"] == 7
    assert model.get_classifier().out_features == 7
    model.reset_classifier(0)
    assert model(images).shape == (2, 16)


def test_registered_with_timm():
    timm = pytest.importorskip("timm")
    import tasks.vision.timm_models  # noqa: F401

    names = [name.removeprefix("gated_") for name in timm.list_models("gated_convit*")]
    assert sorted(names) == sorted(SIZES) == list_models("convit*")
    model = timm.create_model("gated_convit_tiny", num_classes=3, img_size=32, depth=2, drop_path_rate=0.1)
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 3)
    assert model.pretrained_cfg["input_size"] == (3, 224, 224)


def test_attention_maps_and_gates():
    model = small()
    maps = model.attention_maps(torch.randn(1, 1, 8, 12))
    assert [tuple(m.shape) for m in maps.values()] == [(1, 4, 24, 24), (1, 4, 24, 24), (1, 4, 25, 25)]
    assert all(torch.allclose(m.sum(-1), torch.ones(()), atol=1e-5) for m in maps.values())
    assert list(model.gate_values()) == [0, 1]


def test_drop_path_only_in_training():
    model = small(drop_path=0.5)
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(model(images), model(images))
    model.train()
    assert not torch.equal(model(images), model(images))


def test_wrong_images_are_named():
    with pytest.raises(UserError, match=r"(?s)expected: \[B, 1, H, W\].*found:\s+\[1, 3, 8, 8\]"):
        small()(torch.randn(1, 3, 8, 8))


def test_export_with_any_batch():
    model = small()
    images = torch.randn(3, 1, 8, 8)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(images[:2]), model(images[:2]))
