"""Public function of the op: docstring, checks, choice of form."""

from __future__ import annotations

from functools import partial

import torch

from gated.core.ops._op import Impl, declare
from gated.core.ops._recurrence import Direction, Inputs, Recurrence, check_inputs, run
from gated.errors import UserError

OP = declare("delta_recurrence", "reference", "chunk", "triton")


def delta_recurrence(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: torch.Tensor,
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
    """Linear attention that corrects its state instead of adding to it, the gated delta rule.

    ::

        S <- diag(e^{g_t}) S_{t-1};   S_t = S + beta_t k_t (v_t - S^T k_t)^T;   o_t = scale q_t^T S_t

    One ``g`` a head: Gated DeltaNet (arXiv 2412.06464, eq. 10); one a channel: Kimi delta attention (arXiv 2510.26692,
    eq. 1); none: DeltaNet (arXiv 2406.06484, section 2.2). Keys should have length 1 (``normalize(k)``) and ``beta``
    lie in 0..2: then ``I - beta k k^T`` never lengthens anything; beyond, the state may grow without bound.

    Args:
        q: queries ``[B, H, T, K]``.
        k: keys ``[B, H, T, K]``.
        v: values ``[B, HV, T, V]``, ``HV`` a multiple of ``H``: value head ``h`` reads query head ``h // (HV / H)``.
        beta: share of the old value that is replaced, ``[B, H or HV, T]``.
        log_decay: ``<= 0``, -inf forgets everything. ``[B, H or HV, T, K]`` per channel, ``[B, H or HV, T]`` per head,
            ``[H or HV]`` constant, or None.
        decay_bound: promise that every ``log_decay >= decay_bound``; a per-channel gate with a bound of -20 or more
            (best: -5 or more) then takes fewer and larger matmuls.
        scale: factor on the output, ``K ** -0.5`` by default.
        direction: ``"reverse"`` runs from the last token to the first; between tokens ``t`` and ``t + 1`` lies the gate
            of ``t + 1`` in both directions. There is no ``"both"``: the rule is not a sum over pairs of tokens, so the
            two runs share nothing that could be counted once; add or concatenate them as your model needs.
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
        >>> q = k = torch.nn.functional.normalize(torch.randn(1, 2, 100, 8), dim=-1)
        >>> v, beta = torch.randn(1, 2, 100, 16), torch.rand(1, 2, 100)
        >>> delta_recurrence(q, k, v, beta, return_state=True).state.shape
        torch.Size([1, 2, 8, 16])
    """
    inputs = Inputs(q, k, v, log_decay, beta)
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
    if direction == "both":
        raise UserError(
            f"{OP.name}: direction='both' is not defined: the delta rule is not a sum over pairs of tokens",
            hint="run direction='forward' and direction='reverse' and add or concatenate the outputs",
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
