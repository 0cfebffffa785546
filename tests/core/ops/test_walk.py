"""What goes through time piece after piece with a gradient written out: groups of heads, pieces, nothing kept."""

from functools import partial

import pytest
import torch

from gated.core.ops import _walk, delta_recurrence, linear_recurrence
from gated.core.testing import assert_same, with_gradients

LENGTH, WIDTH = 150, 8


def recurrence(op: str, state: bool):
    """Of 12 heads, 6 of them with queries and keys of their own."""
    draw = partial(torch.rand, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tensors = {name: draw(3, 2, LENGTH, WIDTH) - 0.5 for name in ("q", "k")} | {"v": draw(3, 4, LENGTH, WIDTH) - 0.5}
    if state:
        tensors["initial_state"] = draw(3, 4, WIDTH, WIDTH) - 0.5
    if op == "delta_recurrence":
        tensors |= {"beta": draw(3, 4, LENGTH), "log_decay": -draw(3, 4, LENGTH)}
        return partial(delta_recurrence, scale=0.3, return_state=True), tensors
    tensors["log_decay"] = -5.0 * draw(3, 4, LENGTH, WIDTH)
    return partial(linear_recurrence, decay_bound=-5.0, scale=0.3, return_state=True), tensors


@pytest.mark.parametrize("cached", [5 * WIDTH**2, 12 * 48 * WIDTH, 2**17])  # 5 heads; some chunks; all
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("op", ["delta_recurrence", "linear_recurrence"])
def test_groups_of_heads_and_pieces_of_time_add_up(monkeypatch: pytest.MonkeyPatch, op: str, state: bool, cached: int):
    call, tensors = recurrence(op, state)
    expected = with_gradients(partial(call, impl="reference"), tensors)
    monkeypatch.setattr(_walk, "_CACHED", cached)
    assert_same(with_gradients(call, tensors), expected)
    with torch.no_grad():
        found = call(**tensors)
    assert_same({f"output {i}": t for i, t in enumerate(found)}, {k: v for k, v in expected.items() if "output" in k})


@pytest.mark.parametrize("op", ["delta_recurrence", "linear_recurrence"])
def test_a_gradient_that_came_from_outside_is_not_changed(op: str):
    call, tensors = recurrence(op, state=True)
    tensors = {name: t.requires_grad_() for name, t in tensors.items()}
    found = call(**tensors)
    grads = [torch.randn_like(t) for t in found]
    before = [grad.clone() for grad in grads]
    torch.autograd.grad(found, list(tensors.values()), grads)
    assert all(map(torch.equal, grads, before))


@pytest.mark.parametrize("asked", [0, 1])
@pytest.mark.parametrize("op", ["delta_recurrence", "linear_recurrence"])
def test_output_or_state_alone_has_its_gradient(op: str, asked: int):
    """Neither is taken to be zero where nothing is known of it, and neither is missed."""
    call, tensors = recurrence(op, state=True)
    expected = with_gradients(lambda **t: call(**t, impl="reference")[asked], tensors)
    assert_same(with_gradients(lambda **t: call(**t)[asked], tensors), expected)
