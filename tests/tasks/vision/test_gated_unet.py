"""Attention U-Net in two and three dimensions: sizes, gates, parameter counts, pluggable parts."""

from functools import partial

import pytest
import torch
from torch import nn

from gated.core.mixers import SoftmaxAttention
from gated.core.mixers.gpsa import GPSA
from gated.core.nn.attention_gate import GridAttentionGate
from gated.errors import UserError
from gated.registry import build, create_model
from tasks.vision.models import GatedUNet


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(**options):
    return GatedUNet(**({"feature_scale": 16} | options)).eval()


@pytest.mark.parametrize(("gate", "count"), [("none", 5_887_466), ("single", 6_213_613), ("multi", 6_472_784)])
def test_parameter_counts_of_the_ct_nets(gate, count):
    # Oktay et al., two classes, feature_scale 4: 5.89, 6.21 and 6.47 million
    with torch.device("meta"):
        model = create_model("attention_unet_3d", gate=gate)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("gate", ["none", "single", "multi"])
@pytest.mark.parametrize("size", [(32, 48), (37, 50), (5, 70)], ids=str)
def test_any_size_in_two_dimensions(gate, size):
    logits, gates = small(num_classes=3, in_chans=2, gate=gate).forward_with_gates(torch.randn(2, 2, *size))
    assert logits.shape == (2, 3, *size)
    num_gates = {"none": 0, "single": 1, "multi": 2}[gate]
    assert [tuple(g.shape) for g in gates] == [(2, num_gates, *size)] * (3 if num_gates else 0)
    assert all(g.min() >= 0 and g.max() <= 1 for g in gates)


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_any_size_in_three_dimensions(deep_supervision):
    model = small(spatial_dims=3, deep_supervision=deep_supervision)
    logits, gates = model.forward_with_gates(torch.randn(1, 1, 17, 20, 33))
    assert logits.shape == (1, 2, 17, 20, 33)
    assert gates[0].shape == (1, 1, 17, 20, 33)


def test_padding_repeats_the_edge_so_a_constant_image_stays_constant_at_the_cut():
    model = small()
    image = torch.randn(1, 1, 40, 40)
    by_hand = torch.nn.functional.pad(image, (0, 8, 0, 8), mode="replicate")
    torch.testing.assert_close(model(image), model(by_hand)[..., :40, :40])


def test_gate_is_the_formula():
    gate = GridAttentionGate(6, 10, hidden_dim=4).eval()
    x, g = torch.randn(2, 6, 8, 12), torch.randn(2, 10, 4, 6)
    theta = nn.functional.conv2d(x, gate.theta.weight, stride=2)
    phi = nn.functional.conv2d(g, gate.phi.weight, gate.phi.bias)
    psi = nn.functional.conv2d((theta + phi).relu(), gate.psi.weight, gate.psi.bias)
    alpha = nn.functional.interpolate(psi.sigmoid(), scale_factor=2, mode="bilinear")
    passed, seen = gate(x, g)
    torch.testing.assert_close(seen, alpha)
    torch.testing.assert_close(passed, gate.W(alpha * x))
    assert gate.theta.bias is None


def test_closed_gates_cut_the_skip_connections():
    model = small()
    skips = []
    for level in model.gates:
        level.gates[0].psi.weight.data.zero_()
        level.gates[0].psi.bias.data.fill_(-100.0)
        level.gates[0].W[0].register_forward_pre_hook(lambda _, inputs: skips.append(inputs[0].detach()))
    _, gates = model.forward_with_gates(torch.randn(1, 1, 32, 32))
    assert max(g.max() for g in gates) < 1e-6
    assert len(skips) == 3
    assert all(s.abs().max() < 1e-6 for s in skips)


@pytest.mark.parametrize("mixer", [partial(GPSA, num_heads=2), partial(SoftmaxAttention, num_heads=2)])
def test_mixer_at_the_centre(mixer):
    model = small(mixer=mixer)
    assert model(torch.randn(1, 1, 48, 80)).shape == (1, 2, 48, 80)
    again = build(model.spec(), trusted=False)
    again.load_state_dict(model.state_dict())


def test_mixer_that_needs_a_flat_grid_is_refused_in_three_dimensions():
    with pytest.raises(UserError, match=r"(?s)GPSA does not fit into GatedUNet with spatial_dims=3"):
        small(spatial_dims=3, mixer=GPSA)


class OpenGate(nn.Module):
    """Lets everything pass."""

    def __init__(self, dim, gate_dim, spatial_dims):
        super().__init__()

    def forward(self, x, g):
        return x, torch.ones_like(x[:, :1])


def test_skip_gate_is_pluggable():
    _, gates = small(skip_gate=OpenGate).forward_with_gates(torch.randn(1, 1, 16, 16))
    assert all((g == 1).all() for g in gates)


def test_all_parts_learn():
    model = small(gate="multi", mixer=partial(GPSA, num_heads=2)).train()
    model(torch.randn(2, 1, 32, 32)).square().mean().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None]
    assert silent == []


def test_errors():
    with pytest.raises(UserError, match=r"(?s)\[B, 1, D, H, W\].*\[1, 1, 16, 16\]"):
        small(spatial_dims=3)(torch.randn(1, 1, 16, 16))
    with pytest.raises(UserError, match="unknown gate 'double'"):
        small(gate="double")
    with pytest.raises(UserError, match="spatial dimensions"):
        small(spatial_dims=1)
