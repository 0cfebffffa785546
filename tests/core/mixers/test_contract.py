"""One contract for every mixer in `gated.core.mixers`, by enumeration: a new one is covered the moment it exists."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch

from gated.core import mixers
from gated.core.mixers import TokenMixer
from gated.errors import UserError

DIM = 16
NAMES = mixers.list_mixers()
LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 197)
GRIDS = {0: (0, 4), 1: (1, 1), 15: (3, 5), 16: (4, 4), 17: (1, 17), 63: (7, 9), 64: (8, 8), 65: (5, 13), 197: (1, 197)}


def build(name: str, **options) -> TokenMixer:
    mixer = getattr(mixers, name)(DIM, **options).eval().double()
    with torch.no_grad():
        for parameter in mixer.parameters():  # away from zeros and ones that would hide a mistake
            parameter.add_(0.1 * torch.randn_like(parameter))
    return mixer


def call(mixer: TokenMixer, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return mixer(x, grid=GRIDS[x.shape[1]] if mixer.needs_grid else None, mask=mask)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", LENGTHS)
def test_shape_and_gradient_for_any_length(name: str, length: int) -> None:
    mixer = build(name)
    x = torch.randn(2, length, DIM, dtype=torch.float64, requires_grad=True)
    out = call(mixer, x)
    assert out.shape == x.shape
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert torch.isfinite(gradient).all()
    assert length == 0 or gradient.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    mixer = build(name)
    call(mixer, torch.randn(2, 16, DIM, dtype=torch.float64)).square().sum().backward()
    # a bias inside a softmax over positions cancels exactly (facts on GPSA): it may have none
    idle = [n for n, p in mixer.named_parameters() if p.grad is None]
    assert not idle


@pytest.mark.parametrize("name", NAMES)
def test_an_item_of_a_batch_is_the_item_alone(name: str) -> None:
    mixer = build(name)
    x = torch.randn(3, 65, DIM, dtype=torch.float64)
    torch.testing.assert_close(call(mixer, x)[1:2], call(mixer, x[1:2]), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if getattr(mixers, n).supports_mask])
def test_padding_changes_nothing(name: str) -> None:
    mixer = build(name)
    x = torch.randn(2, 65, DIM, dtype=torch.float64)
    mask = torch.ones(2, 65, dtype=torch.bool)
    mask[1, 48:] = False
    loud = torch.where(mask.unsqueeze(-1), x, torch.full_like(x, 1e3))
    out = call(mixer, loud, mask)
    torch.testing.assert_close(out[1:, :48], mixer(x[1:, :48]), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(out[:1], mixer(x[:1]), atol=1e-12, rtol=1e-12)


def causal_mixers() -> list[str]:
    import inspect

    return [n for n in NAMES if "causal" in inspect.signature(getattr(mixers, n)).parameters]


@pytest.mark.parametrize("name", [n for n in NAMES if getattr(mixers, n).supports_mask])
def test_a_wrong_mask_is_named(name: str) -> None:
    mixer, x = build(name), torch.randn(2, 15, DIM, dtype=torch.float64)
    for mask, wrong in (
        (torch.ones(2, 15), "dtype"),
        (torch.ones(2, 14).bool(), "shape"),
        (torch.ones(15).bool(), "shape"),
    ):
        with pytest.raises(UserError, match=f"mask has the wrong {wrong}"):
            call(mixer, x, mask)


@pytest.mark.parametrize("name", [n for n in NAMES if "num_heads" in inspect.signature(getattr(mixers, n)).parameters])
@pytest.mark.parametrize("num_heads", [0, -2, 3])
def test_a_wrong_number_of_heads_is_named(name: str, num_heads: int) -> None:
    with pytest.raises(UserError, match=rf"{name}: num_heads(.|\n)*divisor of(.|\n)*num_heads={num_heads}"):
        getattr(mixers, name)(DIM, num_heads=num_heads)


@pytest.mark.parametrize("name", causal_mixers())
def test_causal_does_not_see_the_future(name: str) -> None:
    mixer = build(name, causal=True)
    assert mixer.causal
    x = torch.randn(1, 65, DIM, dtype=torch.float64)
    changed = x.clone()
    changed[:, 40:] += 1.0
    before, after = call(mixer, x), call(mixer, changed)
    torch.testing.assert_close(before[:, :40], after[:, :40], atol=1e-13, rtol=1e-13)
    assert not torch.allclose(before[:, 40:], after[:, 40:])


@pytest.mark.parametrize("name", [n for n in NAMES if getattr(mixers, n).stateful])
def test_token_by_token_is_all_at_once(name: str) -> None:
    mixer = build(name, causal=True)
    x = torch.randn(3, 20, DIM, dtype=torch.float64)
    state, outputs = mixer.init_state(3), []
    for t in range(20):
        out, state = mixer.step(x[:, t], state)
        outputs.append(out)
    torch.testing.assert_close(torch.stack(outputs, 1), mixer(x), rtol=1e-11, atol=1e-12)
    with pytest.raises(UserError, match="needs causal=True"):
        build(name).step(x[:, 0], state)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_stays_near_fp64(name: str) -> None:
    mixer = build(name)
    x = torch.randn(2, 64, DIM, dtype=torch.float64)
    expected = call(mixer, x)
    got = call(mixer.bfloat16(), x.bfloat16())
    assert got.dtype == torch.bfloat16
    error = (got.double() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < 0.06


@pytest.mark.parametrize("name", NAMES)
def test_compile_and_export(name: str) -> None:
    mixer = build(name).float()
    x = torch.randn(2, 16, DIM)
    grid = {"grid": (4, 4)} if mixer.needs_grid else {}
    expected = mixer(x, **grid)
    torch.testing.assert_close(torch.compile(mixer, fullgraph=True, backend="aot_eager")(x, **grid), expected)
    torch.testing.assert_close(torch.export.export(mixer, (x,), grid).module()(x, **grid), expected)


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(getattr(mixers, n), "attention_map")])
def test_attention_maps_are_weights(name: str) -> None:
    mixer = build(name)
    maps = mixer.attention_map(torch.randn(2, 16, DIM, dtype=torch.float64), grid=(4, 4))
    assert maps.shape[0] == 2
    assert maps.shape[2:] == (16, 16)
    torch.testing.assert_close(maps.sum(-1), torch.ones_like(maps.sum(-1)))


@pytest.mark.parametrize("name", [n for n in NAMES if not getattr(mixers, n).needs_grid])
def test_spec_of_a_network_with_this_mixer_builds_it_again(name: str) -> None:
    from gated.registry import build as build_spec
    from tasks.speech.models import MossFormer

    net = MossFormer(2, 8, depth=1, encoder_dim=8, mixer=partial(getattr(mixers, name)))
    again = build_spec(net.spec(), trusted=False)
    again.load_state_dict(net.state_dict())
    x = torch.randn(1, 400)
    assert torch.equal(again.eval()(x), net.eval()(x))
