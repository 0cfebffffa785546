"""The Triton form of `gpsa`: the definition, on any grid and in any dtype."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from gated.core.ops import gpsa
from gated.core.testing import Named, assert_same, assert_within_budget, pooled, with_gradients

from .cases import DEVICE


def inputs(grid: tuple[int, int], dtype: torch.dtype = torch.float64) -> Named:
    tokens, heads = grid[0] * grid[1], 2
    shapes: dict[str, tuple[int, ...]] = {
        "q": (2, heads, tokens, 4),
        "k": (2, heads, tokens, 4),
        "v": (2, heads, tokens, 5),
    }
    shapes |= {"position": (heads, 3), "gate": (heads,)}
    return {n: torch.randn(*shape, dtype=torch.float64).to(DEVICE, dtype) for n, shape in shapes.items()}


def results(x: Named, grid: tuple[int, int], impl: str) -> Named:
    return with_gradients(partial(gpsa, grid=grid, impl=impl), x)


@pytest.mark.parametrize("grid", [(0, 4), (1, 1), (1, 7), (5, 1), (4, 4), (3, 5), (7, 10)], ids=str)
def test_triton_is_the_reference_with_every_gradient(grid: tuple[int, int]) -> None:
    x = inputs(grid)
    assert_same(results(x, grid, "triton"), results(x, grid, "reference"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("tensor_cores")
def test_errors_are_those_of_the_reference_in_low_precision(dtype: torch.dtype) -> None:
    grid, draws = (4, 6), [inputs((4, 6), dtype) for _ in range(6)]
    exact = pooled(results({n: t.double() for n, t in x.items()}, grid, "reference") for x in draws)
    ours, reference = (pooled(results(x, grid, impl) for x in draws) for impl in ("triton", "reference"))
    assert_within_budget(ours, reference, exact)


def test_compile() -> None:
    x = inputs((3, 4), torch.float32)
    compiled = torch.compile(partial(gpsa, grid=(3, 4), impl="triton"), fullgraph=True, backend="aot_eager")
    assert_same(with_gradients(compiled, x), results(x, (3, 4), "triton"), 1e-6)
