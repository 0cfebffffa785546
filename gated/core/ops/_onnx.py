"""Forms for the graph of another runtime: ONNX knows the recurrences, and runs a scan best without an FFT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gated.core.ops import _op
from gated.core.ops._recurrence import Inputs
from gated.core.ops.scan.doubling import doubling_scan
from gated.errors import UserError

DOMAIN, OPERATOR, OPSET = "gated", "LinearAttention", 27
"""The domain is ours until ``gated.engine.onnx`` has raised the graph, which torch writes in an older opset, to 27."""


@contextmanager
def as_onnx() -> Iterator[None]:
    """Let ``impl="auto"`` take these forms wherever ``torch.export`` traces inside; the program is for ONNX alone."""
    before = dict(_op.exported_forms)
    _op.exported_forms.update(
        linear_recurrence=linear_attention, delta_recurrence=linear_attention, scan=scan_without_fft
    )
    try:
        yield
    finally:
        _op.exported_forms.clear()
        _op.exported_forms.update(before)


def linear_attention(
    inputs: Inputs, state: torch.Tensor | None, scale: float, *, decay_bound: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both recurrences as one node, https://onnx.ai/onnx/operators/onnx__LinearAttention.html (in torch it is zeros).

    Raises:
        UserError: something is in double precision, which the operator does not know.
    """
    state = inputs.start(state)
    if state.dtype != torch.float32:
        raise UserError(
            "ONNX has no recurrence in double precision",
            expected="float32 or half precision",
            found=str(state.dtype),
            hint="export network.float()",
        )
    batch, heads, length, width = inputs.v.shape
    q, k, v, log_decay, beta = (None if x is None else _packed(x.to(state.dtype)) for x in inputs.scaled(scale))
    rule = ("linear", "gated") if beta is None else ("delta", "gated_delta")
    output, state = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{OPERATOR}",
        (q, k, v, state, log_decay, beta),
        {
            "update_rule": rule[log_decay is not None],
            "q_num_heads": heads,
            "kv_num_heads": heads,
            "scale": 1.0,  # the queries come scaled: the operator takes 0 for its default
        },
        dtypes=(state.dtype, state.dtype),
        shapes=((batch, length, heads * width), state.shape),
        version=1,
    )
    return output.unflatten(-1, (heads, width)).transpose(1, 2), state


def _packed(x: torch.Tensor) -> torch.Tensor:
    """``[B, N, T] -> [B, T, N]`` and ``[B, N, T, D] -> [B, T, N * D]``."""
    x = x.transpose(1, 2)
    return x if x.dim() == 3 else x.flatten(2)


def scan_without_fft(x: torch.Tensor, log_decay: torch.Tensor, *, constant: bool, reverse: bool) -> torch.Tensor:
    """Scan by doubling even if the decay is constant: onnxruntime 1.32 fails in a DFT whose length varies."""
    decay = torch.exp(log_decay)
    if constant:
        decay = decay.expand(*x.shape[:-1], decay.shape[-1])
    return doubling_scan(x, decay, reverse=reverse)
