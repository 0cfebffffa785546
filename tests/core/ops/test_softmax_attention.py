"""The contract of `softmax_attention`: every form is the reference."""

from __future__ import annotations

import itertools

import pytest
import torch

from gated.core.ops import softmax_attention
from gated.errors import UserError

LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 197)
OPTIONS = list(itertools.product((False, True), ("none", "head", "element"), (False, True)))


def inputs(length: int, gate: str, masked: bool, dtype=torch.float64) -> dict[str, torch.Tensor | None]:
    made = {n: torch.randn(2, 3, length, 8, dtype=dtype, requires_grad=True) for n in "qkv"}
    width = {"none": None, "head": 1, "element": 8}[gate]
    made["output_gate"] = None if width is None else torch.randn(2, 3, length, width, dtype=dtype, requires_grad=True)
    mask = None
    if masked:
        mask = torch.rand(2, length) > 0.3
        mask[1, :] = False  # nothing to look at anywhere
    return {**made, "key_mask": mask}


@pytest.mark.parametrize(("causal", "gate", "masked"), OPTIONS, ids=str)
@pytest.mark.parametrize("length", LENGTHS)
def test_chunk_is_the_reference_with_every_gradient(length: int, causal: bool, gate: str, masked: bool) -> None:
    x = inputs(length, gate, masked)
    leaves = [t for t in x.values() if t is not None and t.requires_grad]
    outs, grads = [], []
    for impl in ("reference", "chunk"):
        out = softmax_attention(**x, causal=causal, impl=impl)
        outs.append(out)
        grads.append(torch.autograd.grad(out.square().sum() + out.sum(), leaves))
    torch.testing.assert_close(outs[1], outs[0], atol=1e-12, rtol=1e-12)
    for got, expected in zip(grads[1], grads[0], strict=True):
        torch.testing.assert_close(got, expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_nothing_to_look_at_gives_zeros(impl: str) -> None:
    x = inputs(5, "none", False)
    mask = torch.zeros(2, 5, dtype=torch.bool)
    assert torch.equal(softmax_attention(x["q"], x["k"], x["v"], key_mask=mask, impl=impl), torch.zeros(2, 3, 5, 8))


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_causal_does_not_see_the_future(impl: str) -> None:
    x = inputs(17, "element", False)
    before = softmax_attention(**x, causal=True, impl=impl)
    changed = {n: t.detach().clone() for n, t in x.items() if t is not None}
    for t in changed.values():
        t[:, :, 9:] += 1.0
    after = softmax_attention(**changed, causal=True, impl=impl)
    assert torch.equal(before[:, :, :9], after[:, :, :9])
    assert not torch.equal(before[:, :, 9:], after[:, :, 9:])


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_padding_changes_nothing(impl: str) -> None:
    x = inputs(12, "head", False)
    alone = softmax_attention(**x, impl=impl)
    padded = {n: torch.cat((t, torch.full_like(t[:, :, :5], 1e3)), 2) for n, t in x.items() if t is not None}
    mask = torch.arange(17).expand(2, -1) < 12
    torch.testing.assert_close(
        softmax_attention(**padded, key_mask=mask, impl=impl)[:, :, :12], alone, atol=1e-12, rtol=1e-12
    )


@pytest.mark.parametrize("impl", ["reference", "chunk"])
def test_gradcheck(impl: str) -> None:
    x = inputs(4, "element", False)
    tensors = [x[n] for n in ("q", "k", "v", "output_gate")]
    assert torch.autograd.gradcheck(
        lambda q, k, v, g: softmax_attention(q, k, v, output_gate=g, causal=True, impl=impl), tensors
    )


def test_errors_name_the_argument_the_shape_and_what_came() -> None:
    q = torch.randn(2, 3, 5, 8)
    with pytest.raises(UserError, match=r"output_gate(.|\n)*B, H, T, E(.|\n)*\[2, 3, 5, 7\]"):
        softmax_attention(q, q, q, output_gate=torch.randn(2, 3, 5, 7))
    with pytest.raises(UserError, match="key_mask has the wrong dtype"):
        softmax_attention(q, q, q, key_mask=torch.ones(2, 5))
    with pytest.raises(UserError, match="as many keys as queries"):
        softmax_attention(q, q[:, :, :4], q[:, :, :4], causal=True)
    with pytest.raises(UserError, match="no triton form"):
        softmax_attention(q, q, q, impl="triton")
    with pytest.raises(UserError, match="did you mean 'chunk'"):
        softmax_attention(q, q, q, impl="chunks")


def test_compile_and_export() -> None:
    q = torch.randn(2, 3, 9, 8)

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return softmax_attention(x, x, x, output_gate=x, causal=True)

    exported = torch.export.export(Net(), (q,), dynamic_shapes=({2: torch.export.Dim("T", min=2, max=64)},)).module()
    longer = torch.randn(2, 3, 33, 8)
    torch.testing.assert_close(exported(longer), Net()(longer))
    compiled = torch.compile(Net(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q), Net()(q))
