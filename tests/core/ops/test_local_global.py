"""What is special to `local_global`: the sums of its papers by hand. `test_contract.py` has the rest."""

from __future__ import annotations

import pytest
import torch

from gated.core.ops import local_global
from gated.errors import UserError

GROUP = 16


def inputs(length: int, dtype=torch.float64) -> list[torch.Tensor]:
    narrow = [torch.randn(2, 2, length, 6, dtype=dtype, requires_grad=True) for _ in range(4)]
    wide = [torch.randn(2, 2, length, width, dtype=dtype, requires_grad=True) for width in (5, 3)]
    return narrow + wide


def call(x: list[torch.Tensor], **options) -> tuple[torch.Tensor, ...]:
    return local_global(*x[:4], tuple(x[4:]), group_size=GROUP, **options)


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_by_hand(impl: str) -> None:
    # one channel, group of 2, three tokens: the sums of the docstring written out
    q, k = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, -1.0, 4.0])
    v = torch.tensor([1.0, 10.0, 100.0])
    shape = lambda t: t.view(1, 1, 3, 1)  # noqa: E731
    (out,) = local_global(shape(q), shape(k), shape(q), shape(k), (shape(v),), group_size=2, impl=impl)
    far = (k * v).sum() / 3
    near = torch.stack([1.0**2 * v[0], 2.0**2 * v[0], 6.0**2 * v[2]])  # relu(q k / 2)^2 within {0, 1} and {2}
    torch.testing.assert_close(out.flatten(), near + q * far)


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_streams_do_not_disturb_each_other(impl: str) -> None:
    x = inputs(33)
    both = call(x, impl=impl)
    for i in range(2):
        (alone,) = local_global(*x[:4], (x[4 + i],), group_size=GROUP, impl=impl)
        torch.testing.assert_close(alone, both[i], atol=1e-12, rtol=1e-12)


def test_errors_name_the_argument_the_shape_and_what_came() -> None:
    x = inputs(9)
    with pytest.raises(UserError, match=r"(?s)values\[1\].*B=2, H=2, T=9.*\[2, 2, 8, 3\]"):
        local_global(*x[:4], (x[4], x[5][:, :, :8]), group_size=4)
    with pytest.raises(UserError, match="group_size must be positive"):
        local_global(*x[:4], tuple(x[4:]), group_size=0)
    with pytest.raises(UserError, match="mask has the wrong dtype"):
        call(x, mask=torch.ones(2, 9))


def test_export_of_several_groups() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return local_global(x, x, x, x, (x,), group_size=8)[0]

    short, long = torch.randn(1, 1, 20, 4), torch.randn(1, 1, 61, 4)
    exported = torch.export.export(Net(), (short,), dynamic_shapes=({2: torch.export.Dim.DYNAMIC},))
    torch.testing.assert_close(exported.module()(long), Net()(long))
