"""The contract of `local_global`: every form is the reference."""

from __future__ import annotations

import pytest
import torch

from gated.core.ops import local_global
from gated.errors import UserError

LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 197)
GROUP = 16


def inputs(length: int, dtype=torch.float64) -> list[torch.Tensor]:
    narrow = [torch.randn(2, 2, length, 6, dtype=dtype, requires_grad=True) for _ in range(4)]
    wide = [torch.randn(2, 2, length, width, dtype=dtype, requires_grad=True) for width in (5, 3)]
    return narrow + wide


def call(x: list[torch.Tensor], **options) -> tuple[torch.Tensor, ...]:
    return local_global(*x[:4], tuple(x[4:]), group_size=GROUP, **options)


def holes(length: int) -> torch.Tensor:
    mask = torch.rand(2, length) > 0.3
    mask[1] = False
    return mask


@pytest.mark.parametrize("masked", [False, True], ids=["all", "mask"])
@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("length", LENGTHS)
def test_chunk_is_the_reference_with_every_gradient(length: int, causal: bool, masked: bool) -> None:
    x = inputs(length)
    mask = holes(length) if masked else None
    outs, grads = [], []
    for impl in ("reference", "chunk"):
        out = call(x, causal=causal, mask=mask, impl=impl)
        assert [o.shape for o in out] == [v.shape for v in x[4:]]
        outs.append(out)
        grads.append(torch.autograd.grad(sum(o.square().sum() + o.sum() for o in out), x))
    for got, expected in zip(outs[1] + grads[1], outs[0] + grads[0], strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-11)


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
def test_causal_does_not_see_the_future(impl: str) -> None:
    x = inputs(50)
    changed = [t.detach().clone() for t in x]
    for t in changed:
        t[:, :, 23:] += 1.0
    for before, after in zip(call(x, causal=True, impl=impl), call(changed, causal=True, impl=impl), strict=True):
        torch.testing.assert_close(before[:, :, :23], after[:, :, :23], atol=1e-13, rtol=1e-13)
        assert not torch.allclose(before[:, :, 23:], after[:, :, 23:])


@pytest.mark.parametrize("impl", ["reference", "chunk"])
@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing(impl: str, causal: bool) -> None:
    x = inputs(37)
    padded = [torch.cat((t, torch.full_like(t[:, :, :20], 1e3)), 2) for t in x]
    mask = torch.arange(57).expand(2, -1) < 37
    alone, out = call(x, causal=causal, impl=impl), call(padded, causal=causal, mask=mask, impl=impl)
    for expected, got in zip(alone, out, strict=True):
        torch.testing.assert_close(got[:, :, :37], expected, atol=1e-11, rtol=1e-11)
        assert not got[:, :, 37:].any()


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_streams_do_not_disturb_each_other(impl: str) -> None:
    x = inputs(33)
    both = call(x, impl=impl)
    for i in range(2):
        (alone,) = local_global(*x[:4], (x[4 + i],), group_size=GROUP, impl=impl)
        torch.testing.assert_close(alone, both[i], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_gradcheck(impl: str) -> None:
    x = inputs(5)
    assert torch.autograd.gradcheck(
        lambda *t: local_global(*t[:4], tuple(t[4:]), group_size=2, causal=True, impl=impl), x
    )


def test_errors_name_the_argument_the_shape_and_what_came() -> None:
    x = inputs(9)
    with pytest.raises(UserError, match=r"(?s)values\[1\].*B=2, H=2, T=9.*\[2, 2, 8, 3\]"):
        local_global(*x[:4], (x[4], x[5][:, :, :8]), group_size=4)
    with pytest.raises(UserError, match="group_size must be positive"):
        local_global(*x[:4], tuple(x[4:]), group_size=0)
    with pytest.raises(UserError, match="mask has the wrong dtype"):
        call(x, mask=torch.ones(2, 9))


def test_compile_and_export() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return local_global(x, x, x, x, (x,), group_size=8)[0]

    short, long = torch.randn(1, 1, 20, 4), torch.randn(1, 1, 61, 4)
    exported = torch.export.export(Net(), (short,), dynamic_shapes=({2: torch.export.Dim.DYNAMIC},))
    torch.testing.assert_close(exported.module()(long), Net()(long))
    torch.testing.assert_close(torch.compile(Net(), fullgraph=True, backend="aot_eager")(short), Net()(short))
