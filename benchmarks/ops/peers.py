"""What the ops are timed beside: the naive loops of fla-core, and torch's attention."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from math import isqrt

import torch
import torch.nn.functional as F

from benchmarks.ops.timing import Call


def reference(ours: Call) -> Call:
    """The op's own definition."""
    return Call(partial(ours.function, impl="reference"), ours.tensors)


def attention(ours: Call, *, causal: bool) -> Call:
    """Attention of torch over the same queries, keys and values: another function of the same size."""
    return Call(partial(F.scaled_dot_product_attention, is_causal=causal), ours.tensors[:3])


def full_precision(ours: Call) -> Call:
    """The same op on the same values in fp32."""
    return Call(ours.function, [t.detach().float().requires_grad_() for t in ours.tensors])


def written_out(ours: Call) -> Call:
    """Causal attention of torch with the bias of the forget gates as a ``[T, T]`` matrix."""

    def function(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, log_forget: torch.Tensor) -> torch.Tensor:
        sums = log_forget.cumsum(-1)
        hidden = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
        bias = (sums[..., :, None] - sums[..., None, :]).masked_fill(hidden, float("-inf"))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    return Call(function, ours.tensors)


def linear_loop(ours: Call) -> Call:
    """``linear_recurrence`` as a loop; fla-core has one without and one with a gate per channel."""

    def function(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
        if gate is None:
            return _fla("linear_attn", "naive_recurrent_linear_attn")(*_time_first(q, k, v))[0].transpose(1, 2)
        gate = gate if gate.dim() == 4 else gate.unsqueeze(-1).expand_as(k)
        return _fla("gla", "naive_recurrent_gla")(*_time_first(q, k, v, gate))[0].transpose(1, 2)

    return Call(function, ours.tensors)


def delta_loop(ours: Call) -> Call:
    """``delta_recurrence`` as a loop, with a gate a head or a channel."""

    def function(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, beta: torch.Tensor, gate: torch.Tensor
    ) -> torch.Tensor:
        if gate.dim() == 3:
            loop = _fla("gated_delta_rule", "naive_recurrent_gated_delta_rule")
            return loop(*_time_first(q, k, v, beta, gate))[0].transpose(1, 2)
        return _fla("kda", "naive_recurrent_kda")(*_time_first(q, k, v, gate, beta))[0].transpose(1, 2)

    return Call(function, ours.tensors)


def channels_first(ours: Call) -> Call:
    """``gated_conv`` as convolutional networks have it: of ``[B, C, H, W]``, from tokens and back."""

    def function(x: torch.Tensor, context: torch.Tensor, weight: torch.Tensor, *mixes: torch.Tensor) -> torch.Tensor:
        side = isqrt(x.shape[1])
        p, q = (t.mT.unflatten(2, (side, side)).contiguous() for t in (x, context))
        seen = F.conv2d(q, weight.unsqueeze(1), padding="same", groups=len(weight)) / 3
        first, *others = seen.split([p.shape[1], *map(len, mixes)], 1)
        p = p * first
        for mix, gate in zip(mixes, others, strict=True):
            p = F.conv2d(p, mix[:, :, None, None]) * gate
        return p.flatten(2).mT

    return Call(function, ours.tensors)


def scan_loop(ours: Call) -> Call:
    """``scan`` as a loop, the heads as further items of the batch."""

    def function(x: torch.Tensor, log_decay: torch.Tensor) -> torch.Tensor:
        gate = log_decay if log_decay.dim() == 4 else log_decay.unsqueeze(-2).expand_as(x)
        h, _ = _fla("hgrn", "naive_recurrent_hgrn")(x.flatten(0, 1), gate.flatten(0, 1))
        return h.unflatten(0, x.shape[:2])

    return Call(function, ours.tensors)


def _fla(op: str, name: str) -> Callable[..., tuple[torch.Tensor, object]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU
        loop: Callable[..., tuple[torch.Tensor, object]] = getattr(import_module(f"fla.ops.{op}.naive"), name)
    return loop


def _time_first(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Views ``[B, T, H, ...]``, which the loops turn back to ``[B, H, T, ...]``: no copy is charged to them."""
    return [t.transpose(1, 2) for t in tensors]
