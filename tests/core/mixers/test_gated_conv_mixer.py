"""The mixer `GatedConv`: on planes and in volumes, in the models, and what it refuses."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from gated.core.mixers import GatedConv
from gated.errors import UserError
from tasks.vision.models import ConViT, GatedUNet


def test_on_a_plane_it_is_the_layer_of_hornet():
    """Channels first, with torch's modules; of its parameters a closed form gives the number."""
    dim, order, grid = 32, 3, (5, 7)
    mixer = GatedConv(dim, order=order, dims=2).double()
    widths = [8, 16, 32]
    x = torch.randn(2, 35, dim, dtype=torch.float64)
    y = mixer.proj_in(x).mT.unflatten(2, grid)
    p, q = y.split([8, 56], 1)
    conv = nn.Conv2d(56, 56, 7, padding=3, groups=56).double()
    conv.load_state_dict(mixer.conv.state_dict())
    gates = (conv(q) / 3).split(widths, 1)
    p = p * gates[0]
    for mix, gate in zip(mixer.mixes, gates[1:], strict=True):
        p = mix(p.movedim(1, -1)).movedim(-1, 1) * gate
    torch.testing.assert_close(mixer(x, grid=grid), mixer.proj(p.flatten(2).mT), rtol=1e-11, atol=1e-12)
    # C to 2 C, 49 taps and a bias for each of 2 C - C / 4 channels, two maps that double, C to C
    expected = (dim + 1) * 2 * dim + 56 * 50 + (8 + 1) * 16 + (16 + 1) * 32 + (dim + 1) * dim
    assert sum(parameter.numel() for parameter in mixer.parameters()) == expected


def test_it_sees_the_plane_and_not_the_line():
    mixer, grid = GatedConv(8, order=1, kernel_size=3, dims=2).double(), (6, 6)
    x = torch.randn(1, 36, 8, dtype=torch.float64)
    changed = x.clone()
    changed[:, 14] += 1.0  # row 2, column 2
    moved = (mixer(changed, grid=grid) - mixer(x, grid=grid)).abs().sum(-1).view(grid) > 0
    expected = torch.zeros(grid, dtype=torch.bool)
    expected[1:4, 1:4] = True
    assert torch.equal(moved, expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_in_the_centre_of_a_u_net(dims: int):
    unet = partial(GatedUNet, spatial_dims=dims, feature_scale=16, deep_supervision=False)
    net = unet(mixer=partial(GatedConv, kernel_size=3, dims=dims)).eval()
    assert net(torch.randn(1, 1, *(32,) * dims)).shape == (1, 2, *(32,) * dims)
    with pytest.raises(UserError, match=rf"GatedConv does not fit(.|\n)*grid_dims={dims}(.|\n)*grid_dims = {5 - dims}"):
        unet(mixer=partial(GatedConv, dims=5 - dims))


def test_in_the_local_layers_of_a_convit():
    net = ConViT(
        img_size=32,
        num_classes=3,
        embed_dim=16,
        depth=2,
        num_heads=2,
        num_local_layers=1,
        local_mixer=partial(GatedConv, dims=2),
    )
    net(torch.randn(2, 3, 32, 48)).sum().backward()
    assert net.blocks[0].mixer.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"order": 6}, "order does not fit(.|\n)*dim=16(.|\n)*order=6"),
        ({"order": 0}, "order does not fit"),
        ({"dims": 4}, "dims=4"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"dims": 2, "causal": True}, "causal needs a line(.|\n)*dims=2"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict, said: str):
    with pytest.raises(UserError, match=said):
        GatedConv(16, **options)


def test_a_missing_grid_is_named():
    with pytest.raises(UserError, match=r"needs the grid(.|\n)*N=6(.|\n)*None"):
        GatedConv(16, dims=2)(torch.randn(1, 6, 16))
