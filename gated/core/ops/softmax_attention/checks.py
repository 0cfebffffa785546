"""What the arguments must be, alone and together."""

from __future__ import annotations

import torch

from gated.core.ops._checks import Shapes
from gated.core.ops.softmax_attention.forget import Forget
from gated.errors import UserError


def check_inputs(
    op: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool,
    log_forget: Forget | None,
    output_gate: torch.Tensor | None,
    head_weight: torch.Tensor | None,
    clip: float | None,
    signed: bool,
    bias_factors: tuple[torch.Tensor, torch.Tensor] | None,
    window: int | None,
    key_mask: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    check: bool,
) -> None:
    """Check the arguments of :func:`gated.core.ops.softmax_attention`, the values of gates if ``check``.

    Shapes and values are read outside of a compiler only.

    Raises:
        UserError: naming the argument, what was expected and what came.
    """
    gates = log_forget if isinstance(log_forget, tuple) else (log_forget,)
    for name, pair in (
        ("log_forget", gates if isinstance(log_forget, tuple) else None),
        ("bias_factors", bias_factors),
    ):
        if pair is not None and not (isinstance(pair, tuple | list) and len(pair) == 2):
            found = f"{len(pair)} of them" if isinstance(pair, tuple | list) else type(pair).__name__
            raise UserError(f"{op}: {name} is no pair", expected="two tensors", found=found)
    shapes = Shapes(op).check("q", q, "B H T D").check("k", k, "B HK S D").check("v", v, "B HK S E")
    shapes.floating(q=q, k=k, v=v).alike(q=q, k=k, v=v)
    if shapes.active and (q.shape[1] % k.shape[1] if k.shape[1] else q.shape[1]):
        raise UserError(
            f"{op}: q needs a multiple of the heads of k",
            expected=f"H % HK == 0 with HK={k.shape[1]}",
            found=f"H={q.shape[1]}",
        )
    shapes.check("output_gate", output_gate, "B H T E", "B H T 1").check("head_weight", head_weight, "B H T")
    shapes.check("key_mask", key_mask, "B S").dtype("key_mask", key_mask, torch.bool)
    shapes.check("cu_seqlens", cu_seqlens, "N+1")
    for gate in gates:
        shapes.check("log_forget", gate, "B H T")
    if bias_factors is not None:
        shapes.check("bias_factors[0]", bias_factors[0], "B H T R", "1 H T R")
        shapes.check("bias_factors[1]", bias_factors[1], "B HK S R", "1 HK S R")
    shapes.floating(output_gate=output_gate, head_weight=head_weight)
    for gate in gates:
        shapes.floating(log_forget=gate)
    for factors in bias_factors or ():
        shapes.floating(bias_factors=factors)
    _check_together(op, q, k, causal, log_forget, clip, signed, window, key_mask, cu_seqlens)
    if shapes.active and cu_seqlens is not None:
        _check_pack(op, q, cu_seqlens)
    if shapes.active and check:
        for gate in gates:
            _check_gate(op, gate)


def _check_together(
    op: str,
    q: torch.Tensor,
    k: torch.Tensor,
    causal: bool,
    log_forget: Forget | None,
    clip: float | None,
    signed: bool,
    window: int | None,
    key_mask: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
) -> None:
    square = {
        "causal=True": causal,
        "log_forget": log_forget is not None,
        "window": window is not None,
        "cu_seqlens": cu_seqlens is not None,
    }
    for name, used in square.items():
        if used and q.shape[2] != k.shape[2]:
            raise UserError(
                f"{op}: {name} needs as many keys as queries", expected=f"S={q.shape[2]}", found=f"S={k.shape[2]}"
            )
    if causal and isinstance(log_forget, tuple):
        raise UserError(
            f"{op}: a pair of log_forget gates has no meaning with causal=True",
            expected="one gate [B, H, T]: no key lies in the future",
            found="a pair",
        )
    if clip is not None and signed:
        raise UserError(
            f"{op}: clip and signed exclude each other",
            expected="one of them",
            found=f"clip={clip}, signed=True",
            hint="clip cuts small weights to zero, signed makes weights negative: no paper defines both at once",
        )
    if clip is not None and not clip >= 0:
        raise UserError(f"{op}: clip must not be negative", expected="alpha >= 0", found=f"clip={clip}")
    if window is not None and window < 1:
        raise UserError(f"{op}: window must hold a key at least", expected="window >= 1", found=f"window={window}")
    if cu_seqlens is not None and key_mask is not None:
        raise UserError(
            f"{op}: key_mask and cu_seqlens exclude each other",
            expected="one of them",
            found="both",
            hint="a pack has no padding: leave the tokens that are not real out of it",
        )


def _check_gate(op: str, gate: torch.Tensor | None) -> None:
    if gate is not None and not gate.is_meta and bool((~(gate <= 0)).any()):
        found = gate[~(gate <= 0)][0].item()
        raise UserError(
            f"{op}: log_forget is the log of a gate in 0..1",
            expected="values <= 0",
            found=f"{found:g}",
            hint="use torch.nn.functional.logsigmoid",
        )


def _check_pack(op: str, q: torch.Tensor, cu_seqlens: torch.Tensor) -> None:
    if q.shape[0] != 1:
        raise UserError(f"{op}: cu_seqlens needs one packed batch", expected="B=1", found=f"B={q.shape[0]}")
    if cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise UserError(f"{op}: cu_seqlens has the wrong dtype", expected="int32 or int64", found=str(cu_seqlens.dtype))
    starts = cu_seqlens.tolist()
    if not starts or starts != sorted(starts) or starts[0] != 0 or starts[-1] != q.shape[2]:
        raise UserError(
            f"{op}: cu_seqlens does not cut the pack", expected=f"rising from 0 to T={q.shape[2]}", found=str(starts)
        )
