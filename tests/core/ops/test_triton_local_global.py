"""The kernels of `local_global`: groups of any size, blocks of rows, columns and channels, causal or not."""

from __future__ import annotations

import pytest
import torch

from gated.core.ops import local_global
from gated.core.ops.local_global.api import OP
from gated.core.ops.local_global.chunk import chunk
from gated.core.ops.local_global.triton import backward, forward
from gated.core.testing import Named, assert_same, assert_within_budget, with_gradients
from gated.errors import UserError

pytestmark = pytest.mark.usefixtures("on_device")

# the interpreter of triton 3.6 makes range() of arrays of one element
LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 130)


def inputs(length: int, *, width: int = 6, streams: tuple[int, ...] = (5, 3), batch: int = 1) -> Named:
    names = ("q_local", "k_local", "q_global", "k_global")
    x = {n: torch.randn(batch, 1, length, width, dtype=torch.float64) for n in names}
    return x | {f"v{i}": torch.randn(batch, 1, length, size, dtype=torch.float64) for i, size in enumerate(streams)}


def results(tensors: Named, impl: str, *, group: int, causal: bool = False, mask: torch.Tensor | None = None) -> Named:
    def run(q_local, k_local, q_global, k_global, **values):
        options = {"group_size": group, "causal": causal, "mask": mask, "impl": impl}
        return local_global(q_local, k_local, q_global, k_global, tuple(values.values()), **options)

    return with_gradients(run, tensors)


def agree(tensors: Named, **options) -> None:
    assert_same(results(tensors, "triton", **options), results(tensors, "reference", **options))


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("length", LENGTHS)
def test_kernels_are_the_reference_with_every_gradient(length: int, causal: bool) -> None:
    agree(inputs(length), group=20, causal=causal)


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("group", [1, 16, 32, 100])
def test_groups_of_any_size(group: int, causal: bool) -> None:
    agree(inputs(10 if group == 1 else 130), group=group, causal=causal)


def test_wide_heads_and_streams() -> None:
    agree(inputs(18, width=140, streams=(130, 7)), group=17, causal=True)


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_padding_may_hold_anything(causal: bool) -> None:
    x, mask = inputs(37, batch=2), torch.rand(2, 37) > 0.3
    mask[1] = False
    agree(x, group=16, causal=causal, mask=mask)
    clean = results(x, "triton", group=16, causal=causal, mask=mask)
    spoilt = {n: t.masked_fill(~mask[:, None, :, None], torch.nan) for n, t in x.items()}
    assert_same(results(spoilt, "triton", group=16, causal=causal, mask=mask), clean, 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("tensor_cores")
def test_low_precision_errs_no_more_than_the_reference(dtype: torch.dtype) -> None:
    low = {n: (4 * t).to(dtype) for n, t in inputs(65).items()}
    exact = results({n: t.double() for n, t in low.items()}, "reference", group=20)
    assert_within_budget(results(low, "triton", group=20), results(low, "reference", group=20), exact)


def test_what_lies_beside_a_group_is_not_read() -> None:
    """The only real group stands between others that hold NaN, in memory before and behind it too."""
    for causal in (False, True):
        tensors = []
        for width in (3, 3, 5, 5):
            padded = torch.full((3, 20, width), torch.nan, dtype=torch.float64)
            padded[1] = torch.randn(20, width)
            tensors.append(padded.view(1, 1, 60, width))
        for made in (forward(*tensors[:3], 20, causal), *backward(*tensors, 20, causal)):
            assert torch.isfinite(made[:, :, 20:40]).all()


def test_non_contiguous_inputs() -> None:
    x = {n: t.mT.contiguous().mT for n, t in inputs(33).items()}
    assert not x["q_local"].is_contiguous()
    agree(x, group=16)


@pytest.mark.parametrize("shape", [(0, 1, 5, 4), (1, 0, 5, 4), (1, 1, 0, 4)])
def test_nothing_to_do(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    (out,) = local_global(x, x, x, x, (x,), group_size=4, impl="triton")
    out.sum().backward()
    assert out.shape == x.grad.shape == shape


def test_autocast_casts_as_for_a_matmul() -> None:
    x = torch.randn(1, 1, 20, 4)
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        (out,) = local_global(x, x, x, x, (x,), group_size=16, impl="triton")
        (expected,) = local_global(x, x, x, x, (x,), group_size=16, impl="chunk")
    assert out.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, rtol=0.05, atol=0.05)


def test_dropout_is_refused_and_never_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 1, 9, 4)
    with pytest.raises(UserError, match=r"(?s)has no dropout.*0\.1.*impl='chunk'"):
        local_global(x, x, x, x, (x,), dropout=0.1, impl="triton")
    picked = []
    monkeypatch.setattr(type(OP), "pick", lambda self, impl, device: picked.append(impl) or chunk)
    for dropout in (0.0, 0.1):
        local_global(x, x, x, x, (x,), dropout=dropout)
    assert picked == ["auto", "chunk"]


def test_gradcheck() -> None:
    leaves = [t.requires_grad_() for n, t in inputs(4, width=1, streams=(1,)).items() if "global" not in n]
    assert torch.autograd.gradcheck(lambda q, k, v: forward(q, k, v, 3, True), leaves)


# torch 2.14's own opcheck looks at .grad of a tensor that is no leaf
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_opcheck() -> None:
    q, k, v, d_out = (torch.randn(1, 1, 4, width) for width in (3, 3, 2, 2))
    torch.library.opcheck(backward, (q, k, v, d_out, 4, True))
    torch.library.opcheck(forward, (*(t.requires_grad_() for t in (q, k, v)), 4, True))


def test_compile_with_gradients() -> None:
    torch._dynamo.reset()

    def run(q: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return local_global(q, q + 1, q, q, (v,), group_size=8, impl="triton")[0]

    q, v = (torch.randn(1, 1, 19, width, requires_grad=True) for width in (4, 3))
    made = []
    for function in (run, torch.compile(run, fullgraph=True, backend="aot_eager")):
        out = function(q, v)
        made.append((out, *torch.autograd.grad(out.square().sum(), (q, v))))
    torch.testing.assert_close(made[1], made[0])
