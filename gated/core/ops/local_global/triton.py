"""The form for GPUs: scores inside groups never leave a program; the sum over the whole sequence stays two matmuls."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import triton as tr
import triton.language as tl

from gated.core.ops._triton import block, launch, precision
from gated.core.ops.local_global.joint import attend
from gated.core.ops.local_global.kernels import attend_kernel, gradient_kernel
from gated.errors import UserError


def triton(
    q_local: torch.Tensor,
    k_local: torch.Tensor,
    q_global: torch.Tensor,
    k_global: torch.Tensor,
    values: tuple[torch.Tensor, ...],
    *,
    group_size: int,
    causal: bool,
    mask: torch.Tensor | None,
    dropout: float,
) -> tuple[torch.Tensor, ...]:
    """See :func:`gated.core.ops.local_global`.

    Raises:
        UserError: ``dropout`` is not 0.
    """
    if dropout:
        raise UserError(
            "local_global: impl='triton' has no dropout", expected="0", found=str(dropout), hint="use impl='chunk'"
        )
    local = partial(_local, group_size=group_size, causal=causal)
    return attend(local, q_local, k_local, q_global, k_global, values, group_size=group_size, causal=causal, mask=mask)


def _local(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, group_size: int, causal: bool) -> torch.Tensor:
    kind = q.device.type
    if torch.is_autocast_enabled(kind):
        # as a matmul would; nobody casts the inputs of an operation of our own
        q, k, v = (x.to(torch.get_autocast_dtype(kind)) for x in (q, k, v))
    return forward(q, k, v, group_size, causal)


@torch.library.custom_op("gated::local_global_triton", mutates_args=())
def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, group_size: int, causal: bool) -> torch.Tensor:
    """Return squared-ReLU attention inside groups, ``[B, H, T, V]``."""
    return _attend(q, k, v, group_size, causal=causal, keys=False)


@torch.library.custom_op("gated::local_global_triton_backward", mutates_args=())
def backward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d_out: torch.Tensor, group_size: int, causal: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of ``q``, ``k`` and ``v``."""
    d_q = _gradient(q, k, d_out, v, group_size, causal=causal, keys=False)
    d_k = _gradient(k, q, v, d_out, group_size, causal=causal, keys=True)
    return d_q, d_k, _attend(k, q, d_out, group_size, causal=causal, keys=True)


def _attend(
    rows: torch.Tensor, cols: torch.Tensor, values: torch.Tensor, group_size: int, *, causal: bool, keys: bool
) -> torch.Tensor:
    rows, cols, values = rows.contiguous(), cols.contiguous(), values.contiguous()
    out = torch.empty_like(values)
    options = _options(rows, cols, values, group_size)
    launch(
        attend_kernel,
        (_programs(rows, group_size, options["BR"]), tr.cdiv(values.shape[-1], options["BV"])),
        *(rows, cols, values, out, rows.shape[2], group_size),
        **options,
        CAUSAL=causal,
        KEYS=keys,
        num_warps=8,
    )
    return out


def _gradient(
    rows: torch.Tensor,
    cols: torch.Tensor,
    row_values: torch.Tensor,
    col_values: torch.Tensor,
    group_size: int,
    *,
    causal: bool,
    keys: bool,
) -> torch.Tensor:
    rows, cols = rows.contiguous(), cols.contiguous()
    row_values, col_values = row_values.contiguous(), col_values.contiguous()
    out = torch.empty_like(rows)
    options = _options(rows, cols, col_values, group_size)
    channels = block(rows.shape[-1], 128)
    launch(
        gradient_kernel,
        (_programs(rows, group_size, options["BR"]), tr.cdiv(rows.shape[-1], channels)),
        *(rows, cols, row_values, col_values, out, rows.shape[2], group_size),
        # a product of three tf32 ones beside 128 channels of results leaves registers for no more
        **options | {"BK": block(rows.shape[-1], 32), "BV": block(col_values.shape[-1], 32)},
        BD=channels,
        CAUSAL=causal,
        KEYS=keys,
        num_warps=8,
    )
    return out


def _options(rows: torch.Tensor, cols: torch.Tensor, values: torch.Tensor, group_size: int) -> dict[str, Any]:
    """What head dimensions, size of the groups and dtype fix."""
    double = torch.float64 in (rows.dtype, cols.dtype, values.dtype)
    return {
        "D": rows.shape[-1],
        "V": values.shape[-1],
        "BR": block(group_size, 64),
        "BC": block(group_size, 32),
        "BK": block(rows.shape[-1], 64),
        "BV": block(values.shape[-1], 128),
        "PRECISION": precision(rows, cols, values),
        "wide": tl.float64 if double else tl.float32,
    }


def _programs(rows: torch.Tensor, group_size: int, size: int) -> int:
    """Blocks of rows in all groups of all sequences."""
    batch, heads, length, _ = rows.shape
    return batch * heads * tr.cdiv(length, group_size) * tr.cdiv(min(group_size, length), size)


@forward.register_fake
def _(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, group_size: int, causal: bool) -> torch.Tensor:
    return v.new_empty(v.shape)


@backward.register_fake
def _(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d_out: torch.Tensor, group_size: int, causal: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), d_out.new_empty(v.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    q, k, v, ctx.group_size, ctx.causal = inputs
    ctx.save_for_backward(q, k, v)


def _backward(ctx: Any, d_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return *backward(*ctx.saved_tensors, d_out, ctx.group_size, ctx.causal), None, None


forward.register_autograd(_backward, setup_context=_setup_context)
