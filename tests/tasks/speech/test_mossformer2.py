"""Sizes and behaviour of MossFormer2 and of the memory inside it; the function itself: test_mossformer_convert.py."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from gated.core.mixers import MossFormerAttention, SoftmaxAttention
from gated.core.nn.fsmn import Memory
from gated.core.nn.norm import SequenceNorm
from gated.errors import UserError
from gated.registry import build, create_model
from tasks.speech.models import MossFormer2

SMALL = {"depth": 2, "encoder_dim": 10, "memory_dim": 6}


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("mossformer", {"num_speakers": 2}, 42_101_834),
        ("mossformer", {"num_speakers": 3}, 42_364_490),
        ("mossformer_l", {"num_speakers": 2}, 42_101_834),
        ("mossformer_m", {"num_speakers": 2}, 25_195_341),
        ("mossformer_s", {"num_speakers": 2}, 11_260_490),
        ("mossformer2", {"num_speakers": 2}, 55_735_394),
        ("mossformer2", {"num_speakers": 3}, 55_998_050),
        ("mossformer2_s", {"num_speakers": 2}, 37_755_366),
    ],
)
def test_named_sizes_have_the_published_parameter_counts(name: str, options: dict[str, int], parameters: int) -> None:
    with torch.device("meta"):
        net = create_model(name, **options)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == parameters


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 4003])
def test_any_length_comes_back_as_long_and_finite(length: int) -> None:
    torch.manual_seed(0)
    net = MossFormer2(3, 8, **SMALL)
    for mode in (True, False):
        assert net.train(mode)(torch.randn(1, length)).shape == (1, 3, length)
    assert torch.isfinite(net(torch.randn(1, length))).all()


def test_an_item_of_a_batch_is_separated_as_if_alone() -> None:
    torch.manual_seed(0)
    net = MossFormer2(2, 8, **SMALL).eval()
    mixture = torch.randn(3, 3000)
    with torch.no_grad():
        torch.testing.assert_close(net(mixture)[1:2], net(mixture[1:2]), rtol=1e-5, atol=1e-6)


def test_a_louder_mixture_gives_louder_voices_and_silence_gives_silence() -> None:
    torch.manual_seed(0)
    net = MossFormer2(2, 8, **SMALL).eval()
    mixture = torch.randn(1, 3000)
    with torch.no_grad():
        torch.testing.assert_close(net(0.25 * mixture), 0.25 * net(mixture), rtol=1e-4, atol=1e-6)
        assert net(torch.zeros(1, 3000)).abs().max() == 0


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    net = MossFormer2(2, 8, **SMALL, mixer=partial(MossFormerAttention, dropout=0.0), dropout=0.0)
    net(torch.randn(2, 3000)).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_mixer_comes_from_the_outside_and_survives_the_spec() -> None:
    net = MossFormer2(2, 8, **SMALL, mixer=partial(SoftmaxAttention, num_heads=2))
    again = build(net.spec())
    again.load_state_dict(net.state_dict(), strict=True)
    mixture = torch.randn(1, 500)
    assert torch.equal(net.eval()(mixture), again.eval()(mixture))


@pytest.mark.parametrize("size", ["num_speakers", "depth", "encoder_dim", "memory_dim", "memory_order", "memory_depth"])
def test_a_size_of_zero_is_refused_by_name(size: str) -> None:
    with pytest.raises(UserError, match=f"MossFormer2: {size} must be positive"):
        MossFormer2(**{"dim": 8, size: 0})


def test_memory_reaches_as_far_as_its_convolutions_on_both_sides() -> None:
    torch.manual_seed(0)
    memory = Memory(2, order=3, depth=2).double()
    # the norms see all times, so they stand aside here
    memory.norms = torch.nn.ModuleList(torch.nn.Identity() for _ in memory.norms)
    x = torch.randn(1, 41, 2, dtype=torch.float64, requires_grad=True)
    (reach,) = torch.autograd.grad(memory(x)[0, 20].sum(), x)
    seen = reach[0].abs().sum(-1).nonzero().flatten().tolist()
    # two frames at dilation 1 and then two at dilation 2
    assert (min(seen), max(seen)) == (20 - 6, 20 + 6)


@pytest.mark.parametrize(("over", "axes"), [("all", (1, 2)), ("frame", (2,)), ("time", (1,))])
def test_sequence_norm_gives_mean_zero_and_variance_one_over_its_axes(over: str, axes: tuple[int, ...]) -> None:
    x = 3 + 2 * torch.randn(2, 50, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = SequenceNorm(8, over=over).double()(x)
    torch.testing.assert_close(y.mean(axes), torch.zeros_like(y.mean(axes)))
    torch.testing.assert_close(y.square().mean(axes), torch.ones_like(y.mean(axes)))
