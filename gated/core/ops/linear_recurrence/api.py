"""Public function of the op: docstring, checks, choice of form."""

from __future__ import annotations

from functools import partial

import torch

from gated.core.ops._op import Impl, declare
from gated.core.ops._recurrence import Direction, Inputs, Recurrence, check_inputs, run
from gated.errors import UserError

OP = declare("linear_recurrence", "reference", "chunk", "triton")


def linear_recurrence(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    log_decay: torch.Tensor | None = None,
    *,
    decay_bound: float | None = None,
    scale: float | None = None,
    direction: Direction = "forward",
    mask: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    initial_state: torch.Tensor | None = None,
    return_state: bool = False,
    check: bool = True,
    impl: Impl = "auto",
) -> Recurrence:
    """Linear attention whose state decays: ``S_t = diag(e^{g_t}) S_{t-1} + k_t v_t^T``, ``o_t = scale q_t^T S_t``.

    ``g`` is ``log_decay``: per channel of the keys it is GLA (arXiv 2312.06635, eq. 3), one a head and token it
    is the scalar decay of Mamba-2 (arXiv 2405.21060, eq. 2), constant it is RetNet (arXiv 2307.08621, eq. 6), none
    is linear attention (arXiv 2006.16236, eq. 18 and 20 without the denominator).

    Args:
        q: queries ``[B, H, T, K]``.
        k: keys ``[B, H, T, K]``.
        v: values ``[B, HV, T, V]``, ``HV`` a multiple of ``H``: value head ``h`` reads query head ``h // (HV / H)``.
        log_decay: ``<= 0``, -inf forgets everything. ``[B, H or HV, T, K]`` per channel, ``[B, H or HV, T]`` per head,
            ``[H or HV]`` constant, or None.
        decay_bound: promise that every ``log_decay >= decay_bound``; a per-channel gate with a bound of -20 or more
            (best: -5 or more) then takes fewer and larger matmuls.
        scale: factor on the output, ``K ** -0.5`` by default.
        direction: ``"reverse"`` runs from the last token to the first, token ``j`` reaching ``i < j`` with the decay
            with which ``i`` would reach ``j``; ``"both"`` is the sum of the two with the own token counted once,
            ``o_i = scale sum_j (q_i e^{-|c_i - c_j|} . k_j) v_j`` with ``c`` the sums of ``log_decay``.
        mask: ``[B, T]`` bool, True where a token is real: the others neither write nor decay, and get zeros.
        cu_seqlens: ``[N + 1]`` offsets of ``N`` sequences packed into one row (``B == 1``); each starts anew. Shapes
            then depend on values, so this goes through neither ``torch.export`` nor a full-graph compile.
        initial_state: ``[B, HV, K, V]`` (``[N, HV, K, V]`` if packed) in fp32 or double; zeros by default.
        return_state: return the state after the last token (in reverse: before the first, its gate already applied), so
            that it is the ``initial_state`` of what comes next.
        check: refuse gates above 0 or below ``decay_bound`` (reads all of them; never under compile and export).
        impl: form to run; ``"auto"`` picks.

    Returns:
        ``(output, state)``: ``[B, HV, T, V]`` in the dtype of ``v``, and the state or None.

    Raises:
        UserError: a shape, dtype or gate does not fit, or ``impl`` cannot run here.

    Example:
        >>> q = k = v = torch.randn(1, 2, 100, 8)
        >>> gate = torch.nn.functional.logsigmoid(torch.randn(1, 2, 100, 8))
        >>> linear_recurrence(q, k, v, gate, direction="both").output.shape
        torch.Size([1, 2, 100, 8])
    """
    inputs = Inputs(q, k, v, log_decay, None)
    check_inputs(
        OP.name,
        inputs,
        decay_bound=decay_bound,
        scale=scale,
        direction=direction,
        mask=mask,
        cu_seqlens=cu_seqlens,
        initial_state=initial_state,
        check=check,
    )
    if direction == "both" and (return_state or initial_state is not None):
        raise UserError(
            f"{OP.name}: direction='both' has no state",
            hint="use direction='forward' or 'reverse' with initial_state and return_state",
        )
    return run(
        partial(OP.pick(impl, q.device), decay_bound=decay_bound),
        inputs,
        scale=scale,
        direction=direction,
        mask=mask,
        cu_seqlens=cu_seqlens,
        initial_state=initial_state,
        return_state=return_state,
    )
