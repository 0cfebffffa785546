"""``h_t = a_t h_{t-1} + x_t`` in about ``3 sqrt(T)`` vectorised steps instead of ``T``: a registered operation.

Time is cut into blocks of ``C`` steps, and every loop below runs over the steps *of* a block for all blocks at once:

1. from zero: what each block leaves behind, and by how much it damps what enters it (a product of decays: at most 1);
2. over the blocks: what enters each of them;
3. the recurrence itself, every block from the state that enters it.

The third pass is the recurrence as written, so results are those of the plain loop up to the rounding of what enters
a block. Nothing is divided by, so decays down to zero are exact. Only ``h`` and ``a`` are kept for the gradient.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch


@torch.library.custom_op("gated::scan", mutates_args=())
def block_scan(x: torch.Tensor, decay: torch.Tensor, reverse: bool) -> torch.Tensor:
    """Return ``h_t = decay_t h_{t-1} + x_t`` (``h_{t+1}`` if ``reverse``) from zero; ``decay`` broadcasts to ``x``."""
    length = x.shape[-2]
    h = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if not h.numel():
        return h
    decay = decay.expand(*decay.shape[:-2], length, -1)
    size = isqrt(length - 1) + 1
    entering = _entering(x, decay, size, reverse)
    previous = entering
    for step in range(size):
        x_step, out = _step(x, step, size, reverse), _step(h, step, size, reverse)
        count = x_step.shape[-2]
        previous = previous[..., -count:, :] if reverse else previous[..., :count, :]
        torch.addcmul(x_step, _step(decay, step, size, reverse), previous, out=out)
        previous = out
    return h


def _entering(x: torch.Tensor, decay: torch.Tensor, size: int, reverse: bool) -> torch.Tensor:
    """The state that enters each block, ``[..., T / size, D]``, in the order of time."""
    blocks = -(-x.shape[-2] // size)
    entering = torch.zeros(*x.shape[:-2], blocks, x.shape[-1], dtype=x.dtype, device=x.device)
    # the block that the scan visits last hands nothing on
    handing_on = slice(1 - blocks, None) if reverse else slice(None, blocks - 1)
    if blocks == 1:
        return entering
    left = _step(x, 0, size, reverse)[..., handing_on, :].clone()
    damping = _step(decay, 0, size, reverse)[..., handing_on, :].clone()
    for step in range(1, size):
        decay_step = _step(decay, step, size, reverse)[..., handing_on, :]
        torch.addcmul(_step(x, step, size, reverse)[..., handing_on, :], decay_step, left, out=left)
        damping.mul_(decay_step)
    left_at, damping_at, entering_at = left.unbind(-2), damping.unbind(-2), entering.unbind(-2)
    for i in reversed(range(blocks - 1)) if reverse else range(blocks - 1):
        source, target = (i + 1, i) if reverse else (i, i + 1)
        torch.addcmul(left_at[i], damping_at[i], entering_at[source], out=entering_at[target])
    return entering


def _step(t: torch.Tensor, step: int, size: int, reverse: bool) -> torch.Tensor:
    """A view of every block's ``step``-th element in scan order; the last block visited may lack it."""
    first = (t.shape[-2] - 1 - step) % size if reverse else step
    return t[..., first::size, :]


@block_scan.register_fake
def _(x: torch.Tensor, decay: torch.Tensor, reverse: bool) -> torch.Tensor:
    return x.new_empty(x.shape)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, bool], output: torch.Tensor) -> None:
    ctx.save_for_backward(inputs[1], output)
    ctx.reverse = inputs[2]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
    """The gradient of ``x`` runs the other way, each step damped by the decay that its state met going forward."""
    decay, h = ctx.saved_tensors
    reverse: bool = ctx.reverse
    # what a step meets first is the zero state, so any decay will do there
    met = torch.cat((decay[..., :1, :], decay[..., :-1, :]) if reverse else (decay[..., 1:, :], decay[..., -1:, :]), -2)
    met = torch.conj_physical(met)
    grad_x: torch.Tensor = block_scan(grad, met, not reverse)
    if not ctx.needs_input_grad[1]:
        return grad_x, None, None
    nothing = torch.zeros_like(h[..., :1, :])
    before = torch.cat((h[..., 1:, :], nothing) if reverse else (nothing, h[..., :-1, :]), -2)
    return grad_x, (grad_x * before.conj()).sum_to_size(decay.shape), None


block_scan.register_autograd(_backward, setup_context=_setup_context)
