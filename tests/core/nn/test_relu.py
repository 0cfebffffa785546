from __future__ import annotations

import torch
from torch import nn

from gated.core.nn.relu import ReLU


def test_compiled_or_not_it_is_that_of_torch():
    torch.manual_seed(0)
    x = torch.cat((torch.randn(100), torch.tensor([0.0, -0.0, -torch.inf])))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer, grad = ReLU(), torch.randn(103)
    for function in (layer, torch.compile(layer, backend="aot_eager", fullgraph=True)):
        ours.grad = theirs.grad = None
        y, expected = function(ours), nn.functional.relu(theirs)
        y.backward(grad), expected.backward(grad)
        assert torch.equal(y, expected)
        assert torch.equal(ours.grad, theirs.grad)
