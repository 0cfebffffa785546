"""Interpreted kernels multiply as the tensor cores of a GPU do; tests may put what they make on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from .cases import DEVICE

DIGITS = ~np.int32(0x1FFF)
"""Of the 23 bits of a fraction, the 10 that tf32 keeps."""


def cut_off(x: np.ndarray) -> np.ndarray:
    """``x`` in tf32 as tensor cores read it: the other bits are not looked at."""
    return (np.ascontiguousarray(x).view(np.int32) & DIGITS).view(np.float32)


def rounded(x: np.ndarray) -> np.ndarray:
    """``x`` in the nearest tf32 (``cvt.rna.tf32.f32``)."""
    return ((np.ascontiguousarray(x).view(np.int32) + np.int32(0x1000)) & DIGITS).view(np.float32)


def plain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a @ b`` in fp32; an element does not feel the size of its tile, as it may with a BLAS in fp32."""
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)


def product(a: np.ndarray, b: np.ndarray, precision: str) -> np.ndarray:
    """``a @ b`` of fp32 matrices as Triton has NVIDIA's tensor cores do it."""
    if precision == "tf32":
        return plain(cut_off(a), cut_off(b))
    if precision == "tf32x3":
        high_a, high_b = rounded(a), rounded(b)
        low = plain(high_a, cut_off(b - high_b)) + plain(cut_off(a - high_a), high_b)
        return plain(high_a, high_b) + low
    return plain(a, b)


@pytest.fixture
def tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter multiplies in fp32 whatever a kernel asks for, which would hide what tf32 loses.

    Tests of rounding errors ask for this fixture, as it takes time.
    """
    if DEVICE.type == "cuda":
        return
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    exact = InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, d: Any, input_precision: Any, *rest: Any) -> Any:
        if not a.data.dtype == b.data.dtype == d.data.dtype == np.float32:
            return exact(self, a, b, d, input_precision, *rest)
        asked = str(input_precision).rpartition(".")[2].lower()
        return TensorHandle(product(a.data, b.data, asked) + d.data, d.dtype.scalar)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)


@pytest.fixture
def on_device() -> Iterator[None]:
    with DEVICE:
        yield
