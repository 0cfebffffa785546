"""Errors of `softmax_attention`, and queries without a key. `test_contract.py` has what every op holds."""

from __future__ import annotations

import pytest
import torch

from gated.core.ops import softmax_attention
from gated.errors import UserError


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_nothing_to_look_at_gives_zeros(impl: str) -> None:
    q, mask = torch.randn(2, 3, 5, 8), torch.zeros(2, 5, dtype=torch.bool)
    assert torch.equal(softmax_attention(q, q, q, key_mask=mask, impl=impl), torch.zeros(2, 3, 5, 8))


def test_errors_name_the_argument_the_shape_and_what_came() -> None:
    q = torch.randn(2, 3, 5, 8)
    with pytest.raises(UserError, match=r"output_gate(.|\n)*B, H, T, E(.|\n)*\[2, 3, 5, 7\]"):
        softmax_attention(q, q, q, output_gate=torch.randn(2, 3, 5, 7))
    with pytest.raises(UserError, match="key_mask has the wrong dtype"):
        softmax_attention(q, q, q, key_mask=torch.ones(2, 5))
    with pytest.raises(UserError, match="as many keys as queries"):
        softmax_attention(q, q[:, :, :4], q[:, :, :4], causal=True)
