"""Blocks of the vision models: stochastic depth, patches, learnt positions, the residual block."""

import pytest
import torch
from torch import nn

from gated.core.nn.attention_gate import GridAttentionGate
from gated.core.nn.block import PreNormBlock
from gated.core.nn.drop_path import DropPath
from gated.core.nn.mlp import MLP
from gated.core.nn.patches import PatchEmbed, resize_positions
from gated.errors import UserError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_drop_path_skips_whole_samples_and_keeps_the_mean():
    layer = DropPath(0.25).train()
    out = layer(torch.ones(4000, 3))
    assert {round(v, 4) for v in out.unique().tolist()} == {0.0, round(1 / 0.75, 4)}
    assert (out == out[:, :1]).all()
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer.eval()(out), out)


def test_patches_come_row_by_row():
    embed = PatchEmbed(1, 4, 2)
    with torch.no_grad():
        embed.proj.weight.copy_(torch.eye(4).view(4, 1, 2, 2))
        embed.proj.bias.zero_()
    image = torch.arange(24.0).view(1, 1, 4, 6)
    tokens, grid = embed(image)
    assert grid == (2, 3)
    assert tokens[0, 4].tolist() == [14, 15, 20, 21]
    tokens, grid = embed(image[..., :3, :5])
    assert grid == (2, 3)
    assert tokens[0, 5].tolist() == [16, 0, 0, 0]


def test_positions_are_left_alone_on_their_own_grid_and_keep_constants_on_any():
    table = torch.randn(1, 12, 5)
    assert resize_positions(table, (3, 4), (3, 4)) is table
    constant = torch.full((1, 12, 5), 0.7, dtype=torch.bfloat16)
    out = resize_positions(constant, (3, 4), (7, 2))
    assert out.shape == (1, 14, 5)
    assert out.dtype == torch.bfloat16
    assert torch.allclose(out.float(), constant[:, :1].float(), atol=1e-2)


class Recorder(nn.Module):
    """A mixer that keeps what it was given."""

    def __init__(self, normalizes_input):
        super().__init__()
        self.normalizes_input = normalizes_input

    def forward(self, x, *, grid=None):
        self.seen, self.grid = x, grid
        return torch.zeros_like(x)


@pytest.mark.parametrize("own_norm", [True, False])
def test_block_normalises_for_mixers_that_do_not(own_norm):
    mixer = Recorder(own_norm)
    block = PreNormBlock(6, mixer, mlp=MLP(6, 12))
    x = 5 + 3 * torch.randn(2, 4, 6)
    out = block(x, grid=(2, 2))
    torch.testing.assert_close(out, x + block.mlp(block.norm2(x)))
    assert mixer.grid == (2, 2)
    assert torch.equal(mixer.seen, x) == own_norm
    assert block.mlp.fc1.out_features == 12


def test_mlp_is_two_linear_layers_around_gelu():
    mlp = MLP(3, 7)
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(mlp(x), mlp.fc2(nn.functional.gelu(mlp.fc1(x))))


def test_gate_names_a_wrong_number_of_dimensions():
    with pytest.raises(UserError, match=r"(?s)spatial dimensions.*2 or 3.*found:\s+1"):
        GridAttentionGate(4, 4, 1)
