"""The form for GPUs: a program walks along one sequence and a few channels; the same kernel gives the gradients."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from gated.core.ops._triton import block, launch
from gated.core.ops.scan.kernels import scan_kernel


def triton(x: torch.Tensor, log_decay: torch.Tensor, *, constant: bool, reverse: bool) -> torch.Tensor:
    """See :func:`gated.core.ops.scan.reference.reference`."""
    # the fast exp of a GPU is off by two units in the last place, which would compound along time
    return forward(x, torch.exp(log_decay), constant, reverse)


@torch.library.custom_op("gated::scan_triton", mutates_args=())
def forward(x: torch.Tensor, decay: torch.Tensor, constant: bool, reverse: bool) -> torch.Tensor:
    """Return ``h_t = decay_t h_{t-1} + x_t`` (``h_{t+1}`` if ``reverse``) from zero.

    Args:
        x: ``[..., T, D]`` in fp32, double or their complex counterparts.
        decay: same dtype, ``[..., T, D]`` with the last of the leading axes of ``x``; ``T`` is 1 if ``constant``, and
            ``D`` is 1 if the channels share it.
        constant: the decay is the same at every step.
        reverse: run from the last step to the first.
    """
    return _launch(x, decay, None, constant=constant, reverse=reverse, gradient=False)[0]


@torch.library.custom_op("gated::scan_triton_backward", mutates_args=())
def backward(
    d_h: torch.Tensor, decay: torch.Tensor, h: torch.Tensor | None, constant: bool, reverse: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of ``x`` and of ``decay``; the latter needs the scan's result ``h`` and is empty without."""
    d_x, d_decay = _launch(d_h, decay, h, constant=constant, reverse=not reverse, gradient=True)
    return d_x, d_x.new_empty(0) if d_decay is None else d_decay.sum_to_size(decay.shape)


def _launch(
    x: torch.Tensor, decay: torch.Tensor, h: torch.Tensor | None, *, constant: bool, reverse: bool, gradient: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    *lead, length, width = x.shape
    channels = block(width, 32)
    blocks = -(-width // channels)
    # as much as can be under way to a thread without running out of registers, in the gradient with its three inputs
    run = 128 // x.element_size()
    x, decay = x.contiguous(), decay.contiguous()
    out, d_decay = torch.empty_like(x), None
    if h is not None:
        h = h.contiguous()
        d_decay = x.new_empty(*lead, 1 if constant else length, blocks if decay.shape[-1] < width else width)
    launch(
        scan_kernel,
        (prod(lead), blocks),
        *(t if t is None or not t.is_complex() else torch.view_as_real(t) for t in (x, decay, out, h, d_decay)),
        *(length, prod(decay.shape[:-2])),
        D=width,
        WIDTH=decay.shape[-1],
        BD=channels,
        RUN=run,
        CONSTANT=constant,
        COMPLEX=x.is_complex(),
        REVERSE=reverse,
        GRADIENT=gradient,
        num_warps=1,
    )
    return out, d_decay


@forward.register_fake
def _(x: torch.Tensor, decay: torch.Tensor, constant: bool, reverse: bool) -> torch.Tensor:
    return x.new_empty(x.shape)


@backward.register_fake
def _(
    d_h: torch.Tensor, decay: torch.Tensor, h: torch.Tensor | None, constant: bool, reverse: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    return d_h.new_empty(d_h.shape), d_h.new_empty(0 if h is None else decay.shape)


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, bool, bool], output: torch.Tensor) -> None:
    _, decay, ctx.constant, ctx.reverse = inputs
    ctx.save_for_backward(decay, output)


def _backward(ctx: Any, d_h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
    decay, h = ctx.saved_tensors
    wanted = ctx.needs_input_grad[1]
    d_x, d_decay = backward(d_h, decay, h if wanted else None, ctx.constant, ctx.reverse)
    return d_x, d_decay if wanted else None, None, None


forward.register_autograd(_backward, setup_context=_setup_context)
