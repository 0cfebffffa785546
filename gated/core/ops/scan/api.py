"""Public function of the op: docstring, checks, choice of form."""

from __future__ import annotations

import torch

from gated.core.ops._checks import Shapes
from gated.core.ops._op import Impl, declare
from gated.core.ops._recurrence import DIRECTIONS, Direction, Recurrence, check_packing
from gated.core.ops.scan.sequences import run
from gated.errors import UserError, did_you_mean

OP = declare("scan", "reference", "chunk", "triton")


def scan(
    x: torch.Tensor,
    log_decay: torch.Tensor,
    *,
    initial_state: torch.Tensor | None = None,
    return_state: bool = False,
    direction: Direction = "forward",
    mask: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    check: bool = True,
    impl: Impl = "auto",
) -> Recurrence:
    """Elementwise recurrence ``h_t = a_t h_{t-1} + x_t`` with ``a_t = exp(log_decay_t)``, real or complex.

    With a gate a token and channel it is HGRN (arXiv 2311.04823), with a complex one GateLoop (arXiv 2311.01927);
    with a constant decay it is the moving average of Mega (arXiv 2209.10655), complex that of
    Megalodon (arXiv 2404.08801), and the diagonal state space model of BiGS (arXiv 2212.10544).

    Args:
        x: inputs ``[B, H, T, D]`` or ``[B, T, D]``, real or complex.
        log_decay: real (``<= 0``, -inf forgets everything) or complex (real part ``<= 0``, imaginary part the angle).
            Per step and channel in the shape of ``x``, per step and head with a last axis of 1, or constant over time:
            ``[H, D]``, ``[H, 1]`` or ``[D]``.
        initial_state: ``[B, H, D]`` (``[B, D]`` without heads; ``N`` for ``B`` if packed); zeros by default.
        return_state: return the state after the last token (in reverse: before the first, its gate already applied), so
            that it is the ``initial_state`` of what comes next.
        direction: ``"reverse"`` runs from the last token to the first, token ``j`` reaching ``i < j`` with the decay
            that ``i`` would reach ``j`` with (``h_t = a_{t+1} h_{t+1} + x_t``); ``"both"`` is the sum of the two with
            the own token counted once: ``h_i = sum_j e^{-|c_i - c_j|} x_j`` with ``c`` the sums of a real decay.
        mask: ``[B, T]`` bool, True where a token is real: the others neither add nor decay, and get zeros.
        cu_seqlens: ``[N + 1]`` offsets of ``N`` sequences packed into one row (``B == 1``); each starts anew.
        check: refuse decays above 0 (reads all of them; never under compile and export).
        impl: form to run; ``"auto"`` picks.

    Returns:
        ``(output, state)``: every ``h_t`` in the shape of ``x`` and, if all is real, its dtype (complex otherwise); and
        the state in fp32, double or their complex counterparts, or None.

    Raises:
        UserError: a shape, dtype or decay does not fit, or ``impl`` cannot run here.

    Example:
        >>> x, gate = torch.randn(1, 2, 100, 8), torch.nn.functional.logsigmoid(torch.randn(1, 2, 100, 8))
        >>> scan(x, gate, direction="both").output.shape
        torch.Size([1, 2, 100, 8])
    """
    _check(x, log_decay, initial_state, direction, mask, cu_seqlens, check)
    if direction == "both" and (return_state or initial_state is not None):
        raise UserError(
            f"{OP.name}: direction='both' has no state",
            hint="use direction='forward' or 'reverse' with initial_state and return_state",
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, log_decay.dtype), torch.float32)
    if initial_state is not None:
        dtype = torch.promote_types(dtype, initial_state.dtype)
        initial_state = initial_state.to(dtype)
    output, state = run(
        OP.pick(impl, x.device),
        x.to(dtype),
        log_decay.to(dtype),
        direction=direction,
        mask=mask,
        cu_seqlens=cu_seqlens,
        initial_state=initial_state,
        return_state=return_state,
    )
    return Recurrence(output if dtype.is_complex else output.to(x.dtype), state)


def _check(
    x: torch.Tensor,
    log_decay: torch.Tensor,
    initial_state: torch.Tensor | None,
    direction: str,
    mask: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    check: bool,
) -> None:
    shapes = Shapes(OP.name).check("x", x, "B H T D", "B T D")
    if direction not in DIRECTIONS:
        raise UserError(f"{OP.name}: unknown direction {direction!r}", hint=did_you_mean(str(direction), DIRECTIONS))
    if not shapes.active:
        return
    heads = "H " if x.dim() == 4 else ""
    constant = ("H D", "H 1", "D") if heads else ("D",)
    shapes.check("log_decay", log_decay, f"B {heads}T D", f"B {heads}T 1", *constant)
    shapes.check("mask", mask, "B T").dtype("mask", mask, torch.bool)
    if cu_seqlens is not None:
        check_packing(OP.name, cu_seqlens, x if heads else x.unsqueeze(1), mask)
        shapes.sizes["N"] = cu_seqlens.shape[0] - 1
    shapes.check("initial_state", initial_state, f"{'B' if cu_seqlens is None else 'N'} {heads}D")
    for name, tensor in (("x", x), ("log_decay", log_decay), ("initial_state", initial_state)):
        if tensor is not None and not (tensor.is_floating_point() or tensor.is_complex()):
            raise UserError(
                f"{OP.name}: {name} has the wrong dtype", expected="a real or complex dtype", found=str(tensor.dtype)
            )
    if check and log_decay.numel() and not log_decay.is_meta:
        gate = log_decay.detach().real if log_decay.is_complex() else log_decay.detach()
        if mask is not None and gate.dim() == x.dim():  # padding may hold anything
            gate = gate.masked_fill(~mask.view(mask.shape[0], *[1] * (x.dim() - 3), -1, 1), 0.0)
        largest = float(gate.amax())
        if not largest <= 0:  # NaN too
            raise UserError(
                f"{OP.name}: log_decay must not grow the state",
                expected="every log_decay (complex: its real part) <= 0",
                found=f"a largest value of {largest:g}",
                hint="pass logsigmoid(x) or -softplus(x)",
            )
