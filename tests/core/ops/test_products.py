from __future__ import annotations

import pytest
import torch

from gated.core.ops._products import columns_by_columns, rows_by_rows

PRODUCTS = {
    rows_by_rows: ((2, 3, 5, 7), (2, 3, 4, 7), lambda a, b: a @ b.mT),
    columns_by_columns: ((2, 3, 7, 5), (2, 3, 7, 4), lambda a, b: a.mT @ b),
}


@pytest.mark.parametrize("product", PRODUCTS)
def test_products_and_their_gradients_are_those_of_torch_and_lie_in_rows(product):
    left, right, expected = PRODUCTS[product]
    torch.manual_seed(0)
    a = torch.randn(left, dtype=torch.float64, requires_grad=True)
    b = torch.randn(right, dtype=torch.float64, requires_grad=True)
    assert torch.equal(product(a, b), expected(a, b))
    assert torch.autograd.gradcheck(product, (a, b))
    assert torch.autograd.gradgradcheck(product, (a, b))
    grad = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    made = torch.autograd.grad(product(a, b), (a, b), grad)
    for gradient, of in zip(made, torch.autograd.grad(expected(a, b), (a, b), grad), strict=True):
        torch.testing.assert_close(gradient, of)
        assert gradient.is_contiguous()
