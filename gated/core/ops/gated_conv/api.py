"""Public function of the op: docstring, checks, choice of form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch

from gated.core.ops._checks import Shapes
from gated.core.ops._op import Impl, declare, uncast
from gated.core.ops._recurrence import Recurrence
from gated.core.ops.gated_conv.recursion import Activation, recursion
from gated.errors import UserError, did_you_mean

OP = declare("gated_conv", "reference", "chunk")


def gated_conv(
    x: torch.Tensor,
    context: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    mixes: Sequence[torch.Tensor] = (),
    mix_biases: Sequence[torch.Tensor] = (),
    grid: tuple[int, ...] | None = None,
    dilation: int = 1,
    activation: Activation = "none",
    scale: float = 1.0,
    causal: bool = False,
    mask: torch.Tensor | None = None,
    initial_state: torch.Tensor | None = None,
    return_state: bool = False,
    impl: Impl = "auto",
) -> Recurrence:
    """Multiply tokens by what a convolution sees around them, once or again and again.

    With ``n = 1 + len(mixes)`` steps (recursive gated convolution of HorNet, arXiv 2207.14284, section 3.1)::

        y       = activation(scale (conv(context) + bias))       depthwise; split into y_0, ..., y_{n-1}
        p_1     = x * y_0
        p_{k+1} = (mixes[k-1] p_k + mix_biases[k-1]) * y_k       the output is p_n

    One step is a convolution with a gate: with a large kernel the bifurcate gate of ParCNetV2 (arXiv 2211.07157),
    with ``activation="sigmoid"`` a gate between 0 and 1.

    Args:
        x: what is gated, ``[B, T, C0]``.
        context: what is convolved, ``[B, T, C]`` with ``C = C0 + C1 + ...``, the channels of all steps in order.
        weight: one kernel a channel, ``[C, *kernel]``, with an axis for each axis of the grid; as in torch it is not
            turned round, and of an even size the longer half looks ahead.
        bias: ``[C]``, added to the convolution.
        mixes: between two steps a matrix from the channels of one to those of the next, ``[C1, C0]``, ``[C2, C1]``, ...
        mix_biases: ``[C1]``, ``[C2]``, ..., one for each of ``mixes``; none by default.
        grid: sizes of up to three axes whose product is ``T``, the last one running fastest; a line by default. Beyond
            its edges lie zeros.
        dilation: steps between the taps of a kernel, on every axis.
        activation: ``"none"``, ``"sigmoid"``, ``"silu"`` or ``"gelu"``.
        scale: HorNet's ``1 / alpha``.
        causal: on a line, the last tap of a kernel is the token itself and no other looks ahead.
        mask: ``[B, T]`` bool, True where a token is real: the others get zeros, and count as zeros at their place; a
            causal convolution passes over them as if they were cut out.
        initial_state: of a causal call the context before the first token, ``[B, R, C]`` with
            ``R = dilation (kernel - 1)``; zeros by default.
        return_state: return the context up to the last real token, the ``initial_state`` of what comes next.
        impl: form to run; ``"auto"`` picks.

    Returns:
        ``(output, state)``: ``[B, T, C_{n-1}]`` in the dtype of ``x``; the state in fp32 or better, or None.

    Raises:
        UserError: a shape or dtype does not fit, the grid has another number of cells than there are tokens, a state
            without ``causal``, or ``impl`` cannot run here.

    Example:
        >>> x, context = torch.randn(1, 12, 2), torch.randn(1, 12, 6)
        >>> gated_conv(x, context, torch.randn(6, 3, 3), mixes=[torch.randn(4, 2)], grid=(3, 4)).output.shape
        torch.Size([1, 12, 4])
    """
    _check(x, context, weight, bias, mixes, mix_biases, mask)
    Shapes(OP.name).number(dilation=dilation, scale=scale)
    if grid is not None:
        Shapes(OP.name).grid(grid, (1, 2, 3), x.shape[1])
    cells = (x.shape[1],) if grid is None else tuple(grid)
    _check_place(cells, weight, dilation, causal, activation)
    if not causal and (return_state or initial_state is not None):
        raise UserError(f"{OP.name}: only a causal convolution has a state", hint="pass causal=True")
    reach = dilation * (weight.shape[1] - 1)
    shape = f"{x.shape[0]} {reach} {context.shape[2]}"
    Shapes(OP.name).check("initial_state", initial_state, shape).floating(initial_state=initial_state)
    wide = torch.promote_types(torch.promote_types(x.dtype, context.dtype), torch.float32)
    with uncast(x.device):
        output, state = recursion(
            OP.pick(impl, x.device),
            x.to(wide),
            context.to(wide),
            weight.to(wide),
            None if bias is None else bias.to(wide),
            mixes=[t.to(wide) for t in mixes],
            mix_biases=[t.to(wide) for t in mix_biases],
            cells=cells,
            dilation=dilation,
            activation=activation,
            scale=scale,
            causal=causal,
            mask=mask,
            initial_state=None if initial_state is None else initial_state.to(wide),
        )
    return Recurrence(output.to(x.dtype), state if return_state else None)


def _check(
    x: torch.Tensor,
    context: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    mixes: Sequence[torch.Tensor],
    mix_biases: Sequence[torch.Tensor],
    mask: torch.Tensor | None,
) -> None:
    shapes = Shapes(OP.name).check("x", x, "B T C0").check("context", context, "B T C")
    shapes.check("weight", weight, "C K1", "C K1 K2", "C K1 K2 K3").check("bias", bias, "C")
    if len(mix_biases) not in (0, len(mixes)):
        raise UserError(
            f"{OP.name}: mix_biases must go with mixes",
            expected=f"none, or {len(mixes)}",
            found=str(len(mix_biases)),
        )
    for k, mix in enumerate(mixes):
        shapes.check(f"mixes[{k}]", mix, f"C{k + 1} C{k}")
    for k, offset in enumerate(mix_biases):
        shapes.check(f"mix_biases[{k}]", offset, f"C{k + 1}")
    shapes.check("mask", mask, "B T").dtype("mask", mask, torch.bool)
    shapes.floating(x=x, context=context, weight=weight, bias=bias)
    for k, mix in enumerate(mixes):
        shapes.floating(**{f"mixes[{k}]": mix})
    for k, offset in enumerate(mix_biases):
        shapes.floating(**{f"mix_biases[{k}]": offset})
    steps = [x.shape[2], *(mix.shape[0] for mix in mixes)]
    if sum(steps) != context.shape[2]:
        raise UserError(
            f"{OP.name}: context has the wrong number of channels",
            expected=f"[B, T, C] with C = {' + '.join(map(str, steps))}, the channels of x and of each of mixes",
            found=str(list(context.shape)),
        )


def _check_place(cells: tuple[int, ...], weight: torch.Tensor, dilation: int, causal: bool, activation: str) -> None:
    if weight.dim() - 1 != len(cells) or 0 in weight.shape[1:]:
        raise UserError(
            f"{OP.name}: weight does not fit the grid",
            expected=f"[C, {', '.join(f'K{i + 1}' for i in range(len(cells)))}] for grid={cells}, no axis empty",
            found=str(list(weight.shape)),
        )
    if causal and len(cells) > 1:
        raise UserError(f"{OP.name}: causal needs tokens on a line", expected="grid=None", found=f"grid={cells}")
    if dilation < 1:
        raise UserError(f"{OP.name}: dilation must be positive", expected=">= 1", found=str(dilation))
    if activation not in get_args(Activation):
        raise UserError(
            f"{OP.name}: unknown activation {activation!r}", hint=did_you_mean(str(activation), get_args(Activation))
        )
