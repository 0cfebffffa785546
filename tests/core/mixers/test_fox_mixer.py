"""Forgetting attention beyond the contract of all mixers: the Pro block, both sides, and what the gates mean."""

from __future__ import annotations

import pytest
import torch

from gated.core.mixers import ForgettingAttention
from gated.errors import UserError

OPTIONS = [{"causal": True}, {"causal": True, "pro": True}, {"pro": True}, {"two_sided": True}]


def build(**options: bool) -> ForgettingAttention:
    torch.manual_seed(0)
    return ForgettingAttention(16, num_heads=4, **options).double().eval()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(options: dict[str, bool], side: str) -> None:
    mixer = build(**options)
    x = torch.randn(2, 20, 16, dtype=torch.float64)
    before, after = (5, 0) if side == "left" else (0, 5)
    padded = torch.nn.functional.pad(x, (0, 0, before, after), value=50.0)
    mask = torch.nn.functional.pad(torch.ones(2, 20, dtype=torch.bool), (before, after))
    torch.testing.assert_close(mixer(padded, mask=mask)[:, mask[0]], mixer(x), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("options", [o for o in OPTIONS if o.get("causal")], ids=str)
def test_causal_does_not_see_the_future(options: dict[str, bool]) -> None:
    mixer = build(**options)
    x = torch.randn(1, 20, 16, dtype=torch.float64)
    changed = torch.cat((x[:, :11], x[:, 11:] + 1.0), 1)
    torch.testing.assert_close(mixer(x)[:, :11], mixer(changed)[:, :11], atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_closed_gates_leave_every_token_alone(options: dict[str, bool]) -> None:
    mixer = build(**options)
    with torch.no_grad():
        mixer.forget.weight.zero_()
        mixer.forget.bias.fill_(-1e4)
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    assert mixer.gate_values(x).max() == 0
    torch.testing.assert_close(mixer.attention_map(x), torch.eye(9, dtype=torch.float64).expand(2, 4, 9, 9))


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"two_sided": True}], ids=str)
def test_the_output_is_the_map_times_the_values(options: dict[str, bool]) -> None:
    mixer = build(**options)
    x = torch.randn(2, 13, 16, dtype=torch.float64)
    values = mixer.qkv(x)[..., 32:].unflatten(-1, (4, 4)).transpose(1, 2)
    mixed = (mixer.attention_map(x) @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(mixer(x), mixer.proj(mixed), atol=1e-12, rtol=1e-12)


def test_errors() -> None:
    with pytest.raises(UserError, match="num_heads does not fit"):
        ForgettingAttention(10, num_heads=4)
    with pytest.raises(UserError, match="two_sided has no meaning with causal"):
        ForgettingAttention(16, num_heads=4, causal=True, two_sided=True)
