"""The mixer `GPSA`: starts as a convolution, shows its attention, checks what it is given."""

import pytest
import torch

from gated.core.mixers.gpsa import GPSA
from gated.errors import UserError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_parameters_have_the_names_of_timm():
    shapes = {name: tuple(p.shape) for name, p in GPSA(8, num_heads=2, qkv_bias=True).named_parameters()}
    assert shapes == {
        "gating_param": (2,),
        "qk.weight": (16, 8),
        "qk.bias": (16,),
        "v.weight": (8, 8),
        "v.bias": (8,),
        "proj.weight": (8, 8),
        "proj.bias": (8,),
        "pos_proj.weight": (2, 3),
        "pos_proj.bias": (2,),
    }


@pytest.mark.parametrize(("heads", "kernel"), [(4, 2), (9, 3), (12, 3), (3, 1)])
def test_starts_as_the_taps_of_a_convolution(heads, kernel):
    mixer = GPSA(heads * 2, num_heads=heads, locality_strength=20.0)
    assert torch.equal(mixer.v.weight, torch.eye(heads * 2))
    assert torch.allclose(mixer.gate_values(), torch.full((heads,), 0.7311), atol=1e-4)
    with torch.no_grad():
        mixer.gating_param.fill_(50.0)
    grid, middle = (5, 6), (2, 3)
    maps = mixer.attention_map(torch.randn(1, 30, heads * 2), grid=grid)[0, :, middle[0] * 6 + middle[1]]
    centres = set()
    for head in range(kernel**2):
        place = (maps[head].unflatten(0, grid) / maps[head].sum()).nan_to_num()
        y = (place.sum(1) * torch.arange(5)).sum().item() - middle[0]
        x = (place.sum(0) * torch.arange(6)).sum().item() - middle[1]
        centres.add((round(y * 2) / 2, round(x * 2) / 2))
    taps = [i - (kernel - 1) / 2 for i in range(kernel)]
    assert centres == {(y, x) for y in taps for x in taps}


def test_random_start_without_local_init():
    mixer = GPSA(8, num_heads=4, local_init=False)
    assert mixer.v.weight.abs().max() < 0.1
    assert mixer.pos_proj.weight.abs().max() < 0.1


def test_attention_map_times_values_is_the_output():
    mixer = GPSA(12, num_heads=3, qkv_bias=True).double()
    x = torch.randn(2, 20, 12, dtype=torch.float64)
    attention = mixer.attention_map(x, grid=(4, 5))
    assert attention.shape == (2, 3, 20, 20)
    values = mixer.v(x).unflatten(-1, (3, 4)).transpose(1, 2)
    by_hand = mixer.proj((attention @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixer(x, grid=(4, 5)), by_hand, rtol=1e-12, atol=1e-12)


def test_positional_bias_cancels_but_gets_loaded():
    mixer = GPSA(8)
    x = torch.randn(1, 6, 8)
    before = mixer(x, grid=(2, 3))
    with torch.no_grad():
        mixer.pos_proj.bias.add_(3.0)
    torch.testing.assert_close(mixer(x, grid=(2, 3)), before)
    assert "pos_proj.bias" in mixer.state_dict()


def test_gates_and_positions_learn():
    mixer = GPSA(8)
    mixer(torch.randn(2, 12, 8), grid=(3, 4)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in (mixer.gating_param, mixer.pos_proj.weight, mixer.qk.weight))
    # distributed training wants a gradient for every parameter, and this one cannot have any but zero
    assert torch.equal(mixer.pos_proj.bias.grad, torch.zeros(4))


def test_dropout_only_in_training():
    mixer = GPSA(8, proj_dropout=0.5)
    x = torch.randn(1, 4, 8)
    assert not torch.equal(mixer(x, grid=(2, 2)), mixer(x, grid=(2, 2)))
    mixer.eval()
    assert torch.equal(mixer(x, grid=(2, 2)), mixer(x, grid=(2, 2)))


def test_errors_say_what_is_missing():
    mixer, x = GPSA(8), torch.randn(1, 6, 8)
    with pytest.raises(UserError, match="grid of the tokens"):
        mixer(x)
    with pytest.raises(UserError, match="does not fit the tokens"):
        mixer(x, grid=(2, 2))
    with pytest.raises(UserError, match="mask is not supported"):
        mixer(x, grid=(2, 3), mask=torch.ones(1, 6, dtype=torch.bool))
    with pytest.raises(UserError, match="num_heads does not fit"):
        GPSA(10, num_heads=4)
