"""The kernel of `scan`: every layout of decays and kind of number, across the borders of what it takes in at once."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from gated.core.ops import scan
from gated.core.ops.scan.reference import reference
from gated.core.ops.scan.triton import backward, forward
from gated.core.testing import Named, assert_same, assert_within_budget, with_gradients

pytestmark = pytest.mark.usefixtures("on_device")

# the interpreter of triton 3.6 makes range() of arrays of one element
LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 130)
SHAPES = {"channel": (2, 2, -1, 3), "head": (2, 2, -1, 1), "constant": (2, 3), "constant head": (2, 1), "shared": (3,)}


def inputs(length: int, kind: str, *, turning: bool = False, width: int = 3) -> Named:
    """Real tensors: a decay that turns comes as strength and ``angle``, so that both have a gradient."""
    shape = [length if n == -1 else width if n == 3 else n for n in SHAPES[kind]]
    gate = -torch.rand(shape, dtype=torch.float64)
    gate.view(-1)[1::5] = -math.inf
    gate.view(-1)[2::5] = 0.0
    x = {"x": torch.randn(2, 2, length, width, dtype=torch.float64), "log_decay": gate}
    if turning:
        x |= {"angle": torch.randn(shape, dtype=torch.float64), "x_imag": torch.randn_like(x["x"])}
    return x


def results(tensors: Named, impl: str, **options: Any) -> Named:
    def run(x, log_decay, angle=None, x_imag=None, state=None):
        if angle is not None:
            x, log_decay = torch.complex(x, x_imag), torch.complex(log_decay, angle)
        made = scan(x, log_decay, initial_state=state, check=False, impl=impl, **options)
        return tuple(torch.view_as_real(t) if t is not None and t.is_complex() else t for t in made)

    return with_gradients(run, tensors)


def agree(tensors: Named, **options: Any) -> None:
    assert_same(results(tensors, "triton", **options), results(tensors, "reference", **options))


@pytest.mark.parametrize("length", LENGTHS)
def test_kernel_is_the_reference_with_every_gradient(length: int) -> None:
    for direction in ("forward", "reverse"):
        agree({n: t[:1] for n, t in inputs(length, "channel").items()}, direction=direction, return_state=True)


@pytest.mark.parametrize("turning", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("kind", list(SHAPES))
def test_every_layout_of_decays(kind: str, turning: bool) -> None:
    for length, direction in ((0, "forward"), (1, "reverse"), (18, "forward" if turning else "reverse")):
        agree(inputs(length, kind, turning=turning), direction=direction)


@pytest.mark.parametrize("kind", ["channel", "head", "constant", "constant head"])
def test_channels_of_several_programs(kind: str) -> None:
    agree(inputs(18, kind, width=35))


@pytest.mark.parametrize("kind", ["channel", "constant"])
def test_state_mask_packing_and_both_directions(kind: str) -> None:
    x = inputs(20, kind)
    agree(x | {"state": torch.randn(2, 2, 3, dtype=torch.float64)}, return_state=True, direction="reverse")
    agree(x, direction="both", mask=torch.rand(2, 20) > 0.3)
    packed = {n: t[:1] if t.shape[0] == 2 and t.dim() == 4 else t for n, t in x.items()}
    agree(packed, cu_seqlens=torch.tensor([0, 0, 7, 8, 20]), return_state=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_errs_no_more_than_the_reference(dtype: torch.dtype) -> None:
    low = {n: t[:1].to(dtype) for n, t in inputs(65, "channel").items()}
    exact = results({n: t.double() for n, t in low.items()}, "reference")
    assert_within_budget(results(low, "triton"), results(low, "reference"), exact)


def test_single_precision_is_the_loop_step_by_step() -> None:
    x = torch.randn(1, 2, 65, 3)
    gate = -torch.rand(1, 2, 65, 3)
    for reverse in (False, True):
        expected = reference(x, gate, constant=False, reverse=reverse)
        torch.testing.assert_close(forward(x, gate.exp(), False, reverse), expected, rtol=1e-6, atol=1e-6)


def test_what_lies_beside_the_tensors_is_not_read() -> None:
    """Each tensor is a part of one with NaN on both sides, where a kernel that looks too far would find them."""
    for length, reverse, complex_ in itertools.product((1, 17), (False, True), (False, True)):
        dtype = torch.complex128 if complex_ else torch.float64
        tensors = []
        for _ in range(3):
            padded = torch.full((40 + 2 * length * 3,), torch.nan, dtype=dtype)
            inner = padded[20:-20].view(1, 2, length, 3)
            inner.copy_(torch.rand(1, 2, length, 3))
            tensors.append(inner)
        made = forward(*tensors[:2], False, reverse), *backward(*tensors, False, reverse)
        assert all(torch.isfinite(torch.view_as_real(t) if complex_ else t).all() for t in made)


def test_views_conjugates_and_expanded_inputs() -> None:
    x = torch.randn(2, 3, 18, 2, dtype=torch.complex128)
    gate = torch.complex(-torch.rand(18, 3), torch.randn(18, 3)).to(x.dtype)
    odd = x.transpose(1, 3).conj(), gate.T.conj()[None, None].expand(2, 2, 3, 18).transpose(2, 3)
    assert not odd[0].is_contiguous()
    assert odd[0].is_conj()
    torch.testing.assert_close(scan(*odd, impl="triton").output, scan(*odd, impl="reference").output)


@pytest.mark.parametrize("shape", [(0, 2, 5, 3), (2, 0, 5, 3), (2, 2, 5, 0), (2, 2, 0, 3)])
def test_nothing_to_do(shape: tuple[int, ...]) -> None:
    x, gate = torch.randn(shape, requires_grad=True), torch.zeros(shape[1], shape[3], requires_grad=True)
    scan(x, gate, impl="triton").output.sum().backward()
    assert x.grad.shape == shape
    assert not gate.grad.any()


def test_gradcheck() -> None:
    for turning in (False, True):
        x = inputs(3, "channel", turning=turning)
        x = {n: t[:1, :1, :, :1].clamp(-1, -0.1).requires_grad_() for n, t in x.items()}

        def run(x, log_decay, angle=None, x_imag=None):
            if angle is not None:
                x, log_decay = torch.complex(x, x_imag), torch.complex(log_decay, angle)
            return scan(x, log_decay, direction="reverse", check=False, impl="triton").output

        assert torch.autograd.gradcheck(run, tuple(x.values()))


# torch 2.14's own opcheck looks at .grad of a tensor that is no leaf
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_opcheck() -> None:
    x, decay = torch.randn(1, 3, 2), torch.rand(1, 3, 1)
    torch.library.opcheck(forward, (x.clone().requires_grad_(), decay.clone().requires_grad_(), False, True))
    torch.library.opcheck(backward, (x, decay, x, False, True))
    torch.library.opcheck(backward, (x, torch.rand(1, 2), None, True, True))


def test_compile_with_gradients() -> None:
    torch._dynamo.reset()

    def run(x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        return scan(x, gate, direction="both", impl="triton").output

    x, gate = torch.randn(1, 2, 9, 3, requires_grad=True), (-torch.rand(1, 2, 9, 3)).requires_grad_()
    made = []
    for function in (run, torch.compile(run, fullgraph=True, backend="aot_eager")):
        out = function(x, gate)
        made.append((out, *torch.autograd.grad(out.square().sum(), (x, gate))))
    torch.testing.assert_close(made[1], made[0])
