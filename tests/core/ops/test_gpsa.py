"""What is special to `gpsa`: it is the formula of the paper, on any grid. `test_contract.py` has the rest."""

import pytest
import torch

from gated.core.ops.gpsa import gpsa
from gated.core.ops.gpsa.chunk import axis_weights
from gated.core.ops.gpsa.reference import attention_weights, positional_weights
from gated.errors import UserError


def inputs(grid, dtype=torch.float64, heads=3, width=4, value_width=5, requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    tokens = grid[0] * grid[1]
    shapes = [(2, heads, tokens, width)] * 2 + [(2, heads, tokens, value_width), (heads, 3), (heads,)]
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_(requires_grad) for s in shapes]


def test_reference_is_the_formula_written_with_loops():
    height, width = grid = (2, 3)
    q, k, v, position, gate = inputs(grid, heads=2)
    out = gpsa(q, k, v, position, gate, grid=grid, impl="reference")
    for head in range(2):
        content = (q[0, head] @ k[0, head].T / q.shape[-1] ** 0.5).softmax(-1)
        for i in range(height * width):
            scores = torch.zeros(height * width, dtype=torch.float64)
            for j in range(height * width):
                dx, dy = j % width - i % width, j // width - i // width
                a, b, c = position[head].tolist()
                scores[j] = a * dx + b * dy + c * (dx**2 + dy**2)
            share = gate[head].sigmoid()
            row = (1 - share) * content[i] + share * scores.softmax(-1)
            torch.testing.assert_close(out[0, head, i], row @ v[0, head], rtol=1e-12, atol=1e-12)


def test_positional_softmax_is_a_kronecker_product():
    position = torch.tensor([[0.7, -1.2, -0.4], [3.0, 0.5, 0.2]], dtype=torch.float64)
    rows, columns = axis_weights(position[:, 1], position[:, 2], 3), axis_weights(position[:, 0], position[:, 2], 5)
    product = torch.stack([torch.kron(y, x) for y, x in zip(rows, columns, strict=True)])
    torch.testing.assert_close(product, positional_weights(position, (3, 5)), rtol=1e-13, atol=1e-14)


def test_attention_rows_sum_to_one_so_normalising_again_would_change_nothing():
    q, k, _, position, gate = inputs((4, 6))
    rows = attention_weights(q, k, position, gate, grid=(4, 6), scale=0.5).sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows), rtol=1e-13, atol=1e-13)


def test_gate_chooses_between_content_and_position():
    q, k, v, position, _ = inputs((3, 4))
    content = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    place = positional_weights(position, (3, 4)) @ v
    for gate, wanted in ((-50.0, content), (50.0, place), (0.0, (content + place) / 2)):
        out = gpsa(q, k, v, position, torch.full((3,), gate, dtype=torch.float64), grid=(3, 4))
        torch.testing.assert_close(out, wanted, rtol=1e-12, atol=1e-12)


def test_bf16_keeps_positions_in_fp32():
    # at 24 x 24, squared distances beyond 256 are not whole numbers in bf16
    grid = (24, 24)
    q, k, v, position, gate = inputs(grid, torch.float32, heads=1)
    half = [t.bfloat16() for t in (q, k, v)]
    position = position * 0.01
    exact = gpsa(*(t.float() for t in half), position, gate, grid=grid)
    out = gpsa(*half, position, gate, grid=grid)
    assert out.dtype == torch.bfloat16
    assert (out.float() - exact).abs().max() < 0.02
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (gpsa(q, k, v, position, gate, grid=grid).float() - exact).abs().max() < 0.02


def test_scale_is_honoured():
    tensors = inputs((2, 2))
    assert not torch.allclose(gpsa(*tensors, grid=(2, 2), scale=0.1), gpsa(*tensors, grid=(2, 2)))


def test_no_tokens_give_no_output():
    tensors = [t[:, :, :0] if t.dim() == 4 else t for t in inputs((1, 1))]
    assert gpsa(*tensors, grid=(0, 4)).shape == (2, 3, 0, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": (2, 3, 7, 4)}, r"k has the wrong shape.*\[B, H, N, D\] with B=2, H=3, N=6, D=4"),
        ({"v": (2, 1, 6, 5)}, r"v has the wrong shape"),
        ({"position": (3, 2)}, r"position has the wrong shape.*\[H, 3\]"),
        ({"gate": (4,)}, r"gate has the wrong shape.*\[H\]"),
        ({"grid": (2, 4)}, r"grid does not fit.*\(height, width\).* 6 tokens.*grid=\(2, 4\)"),
        ({"grid": (-2, -3)}, r"grid does not fit.*grid=\(-2, -3\)"),
        ({"grid": None}, r"grid does not fit.*grid=None"),
        ({"grid": 6}, r"grid does not fit.*grid=6"),
        ({"grid": (1, 2, 3)}, r"grid does not fit"),
    ],
)
def test_errors_name_the_argument_and_the_shape(change, message):
    arguments = dict(zip(("q", "k", "v", "position", "gate"), inputs((2, 3)), strict=True)) | {"grid": (2, 3)}
    for name, value in change.items():
        arguments[name] = value if name == "grid" else torch.zeros(value, dtype=torch.float64)
    with pytest.raises(UserError, match="(?s)" + message):
        gpsa(**arguments)
