"""The kernels as two registered operations, forward and backward, which ``torch.compile`` takes as they are.

Both are given ``q [B, H, T, D]``, ``k [B, HK, S, D]`` and ``v [B, HK, S, E]``; the potentials and resets of the gates
(``forget.Decay``, ``[B, H, T]``), those of the future alone or all None where no gate acts; ``key_mask [B, S]`` or
None; and the keys ``begin..end-1`` that each query may see (``visible.intervals``, ``[B or 1, T]``), None for an end
without a rule.
"""

from __future__ import annotations

from typing import Any

import torch

from gated.core.ops._triton import block, launch, precision
from gated.core.ops.softmax_attention.kernels import d_keys_kernel, d_queries_kernel, forward_kernel


@torch.library.custom_op("gated::softmax_attention_triton", mutates_args=())
def mix(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    past: torch.Tensor | None,
    future: torch.Tensor | None,
    past_resets: torch.Tensor | None,
    future_resets: torch.Tensor | None,
    key_mask: torch.Tensor | None,
    begin: torch.Tensor | None,
    end: torch.Tensor | None,
    scale: float,
    clip: float | None,
    signed: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the output ``[B, H, T, E]`` and what backward needs of each row, ``[B, H, T]``.

    That is its largest score, one over its sum of exponentials and, with ``clip`` (else empty), how many keys it sees.
    """
    out, peak, share, seen = _outputs(q, v, clip)
    gates = *_parts(past, peak.dtype), past_resets, *_parts(future, peak.dtype), future_resets
    rules = _rules(peak.dtype, *gates, key_mask, begin, end)
    options = _options(q, k, v, clip, signed)
    launch(
        forward_kernel,
        (_blocks(q, options["M"]),),
        *(q.contiguous(), k.contiguous(), v.contiguous(), *rules, out, peak, share, _given(seen)),
        *_numbers(q, k, begin, end, scale),
        **options,
    )
    return out, peak, share, seen


@torch.library.custom_op("gated::softmax_attention_triton_backward", mutates_args=())
def mix_backward(
    d_out: torch.Tensor,
    peak: torch.Tensor,
    share: torch.Tensor,
    seen: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    past: torch.Tensor | None,
    future: torch.Tensor | None,
    past_resets: torch.Tensor | None,
    future_resets: torch.Tensor | None,
    key_mask: torch.Tensor | None,
    begin: torch.Tensor | None,
    end: torch.Tensor | None,
    scale: float,
    clip: float | None,
    signed: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of ``q, k, v`` and of the potentials ``past`` and ``future`` (empty where absent)."""
    d_q, d_k, d_v, row_past, row_future = _gradients(q, k, v, past, future)
    column_past, column_future = torch.empty_like(row_past), torch.empty_like(row_future)
    delta = torch.empty_like(peak)
    gates = *_parts(past, peak.dtype), past_resets, *_parts(future, peak.dtype), future_resets
    rules = _rules(peak.dtype, *gates, key_mask, begin, end)
    numbers = _numbers(q, k, begin, end, scale)
    q, k, v, d_out = (x.contiguous() for x in (q, k, v, d_out))
    # tiles of one size: then both kernels find the same number for a score, and the gates' gradient keeps its digits
    options = _options(q, k, v, clip, signed, sums=2)
    launch(
        d_queries_kernel,
        (_blocks(q, options["M"]),),
        *(q, k, v, *rules, peak, share, _given(seen), d_out, d_q, delta, _given(row_past), _given(row_future)),
        *numbers,
        **options,
    )
    # a key is seen by one run of queries too, for the ends of the intervals never step back
    j = torch.arange(k.shape[2], device=k.device, dtype=torch.int32)
    seen_from, seen_to = (
        None if x is None else torch.searchsorted(x, j.repeat(x.shape[0], 1), right=True, out_int32=True)
        for x in (rules[-1], rules[-2])
    )
    launch(
        d_keys_kernel,
        (_blocks(k, options["N"]),),
        *(q, k, v, *rules, peak, share, _given(seen), d_out, delta, seen_from, seen_to),
        *(d_k, d_v, _given(column_past), _given(column_future)),
        *numbers,
        **options,
    )
    return d_q, d_k, d_v, row_past - column_past, row_future - column_future


def _outputs(q: torch.Tensor, v: torch.Tensor, clip: float | None) -> tuple[torch.Tensor, ...]:
    wide = torch.promote_types(torch.promote_types(q.dtype, v.dtype), torch.float32)
    peak, share = (q.new_empty(q.shape[:-1], dtype=wide) for _ in range(2))
    return v.new_empty(*q.shape[:-1], v.shape[-1]), peak, share, peak.new_empty(0 if clip is None else q.shape[:-1])


def _gradients(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, past: torch.Tensor | None, future: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    d_past, d_future = (q.new_empty(0 if x is None else x.shape, dtype=torch.float64) for x in (past, future))
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), d_past, d_future


def _given(x: torch.Tensor) -> torch.Tensor | None:
    return None if x.dim() == 1 else x


def _parts(potential: torch.Tensor | None, wide: torch.dtype) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
    """A potential as the sum of two numbers of ``wide``: many GPUs are slow in double precision."""
    if potential is None:
        return None, None
    high = potential.to(wide)
    return high, (potential - high).to(wide)


def _rules(wide: torch.dtype, *rules: torch.Tensor | None) -> list[torch.Tensor | None]:
    """Ints are 32 bits wide in the kernels, and so are masks beside doubles.

    Triton 3.6 packs what it multiplies by the narrowest type loaded on the way there, and can't pack doubles by bytes.
    """
    cast = (torch.int64, torch.bool) if wide == torch.float64 else (torch.int64,)
    return [x if x is None else (x.int() if x.dtype in cast else x).contiguous() for x in rules]


def _blocks(x: torch.Tensor, size: int) -> int:
    """Programs for ``x [B, H, length, ...]``."""
    return -(-x.shape[2] // size) * x.shape[0] * x.shape[1]


def _numbers(
    q: torch.Tensor, k: torch.Tensor, begin: torch.Tensor | None, end: torch.Tensor | None, scale: float
) -> tuple[int, int, int, int, int, float]:
    a_run_an_item = any(x is not None and x.shape[0] > 1 for x in (begin, end))
    return q.shape[2], k.shape[2], q.shape[1], q.shape[1] // max(1, k.shape[1]), int(a_run_an_item), scale


def _options(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, clip: float | None, signed: bool, sums: int = 1
) -> dict[str, Any]:
    """What a kernel of ``sums`` sums of products is compiled for, with tiles of such sizes as fit into registers."""
    # with bias factors the keys are in single precision whatever the values are, and need it
    d, e, rounding = q.shape[-1], v.shape[-1], precision(q, k)
    bd, be = block(d, 2 * d), block(e, 2 * e)
    half, widest, double = rounding == "tf32", max(bd, be), torch.float64 in (q.dtype, k.dtype, v.dtype)
    rows = max(16, (min(64, 4096 // widest) if half else min(32, 2048 // widest)) // sums)
    return {
        **{"D": d, "E": e, "BD": bd, "BE": be, "M": rows, "N": 32 if widest <= 128 and not double else 16},
        **{"CLIP": clip, "SIGNED": signed, "PRECISION": rounding},
        "num_warps": 4 if rows == 64 and widest <= 64 else 8,
        "num_stages": 2 if half and widest <= 64 else 1,
    }


@mix.register_fake
def _(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
    return _outputs(q, v, rest[-2])


@mix_backward.register_fake
def _(*inputs: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return _gradients(*inputs[4:9])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[1:], *inputs[:-3])
    ctx.options = inputs[-3:]


def _backward(ctx: Any, d_out: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
    d_q, d_k, d_v, d_past, d_future = mix_backward(d_out, *ctx.saved_tensors, *ctx.options)
    return d_q, d_k, d_v, _given(d_past), _given(d_future), *(None,) * 8


mix.register_autograd(_backward, setup_context=_setup_context)
