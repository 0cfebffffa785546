"""Attention in blocks of queries, for what torch's own kernel cannot do; memory is linear in the length.

The softmax of a block is complete (a block holds all keys it sees), so every option is what the definition says, and
nothing of size ``[T, S]`` is kept: backward makes each block again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import torch

from gated.core.ops._op import uncast
from gated.core.ops.softmax_attention.forget import Decay, Forget, add_bias_, add_gradient_, reach
from gated.core.ops.softmax_attention.visible import Sight, visible

Span: TypeAlias = tuple[int, int, int, int]
"""Queries ``i0..i1-1`` and the keys ``lo..hi-1`` that they may see."""

SCORES = 2**21
"""Scores held at once: they should stay in cache, and a block should have rows enough for the matrix product."""


class Options(NamedTuple):
    """What the weights are, beside who sees whom."""

    clip: float | None
    signed: bool
    spans: tuple[Span, ...]


def spans(
    rules: Sight, batch: int, queries: int, keys: int, fading: Decay | None = None, least: float | None = None
) -> tuple[Span, ...]:
    """Cut the queries into blocks and find the keys that each may see, from the shapes alone where compiled.

    With ``fading`` and ``least``, keys whose bias is below ``least`` in every head are left out.
    """
    limits = None
    if rules.first is not None and rules.stop is not None and len(rules.first) and not torch.compiler.is_compiling():
        limits = rules.first.amin(0).tolist(), rules.stop.amax(0).tolist()
    seen = keys if rules.window is None else min(keys, rules.window)
    size = max(16, min(256, SCORES // max(1, batch * seen)))
    starts = list(range(0, queries, size))
    stops = [min(i0 + size, queries) for i0 in starts]
    near = None if fading is None or least is None or not starts else reach(fading, starts, stops, least)
    found = []
    for block, (i0, i1) in enumerate(zip(starts, stops, strict=True)):
        lo, hi = (0, keys) if limits is None else (limits[0][i0], limits[1][i1 - 1])
        if rules.window is not None:
            lo, hi = max(lo, i0 - rules.window + 1), min(hi, i1 + rules.window - 1)
        if near is not None:
            lo, hi = max(lo, near[0][block]), min(hi, near[1][block])
        found.append((i0, i1, lo, min(hi, i1) if rules.causal else hi))
    return tuple(found)


def negligible(q: torch.Tensor, k: torch.Tensor, log_forget: Forget) -> float | None:
    """Return the bias below which keys cannot matter, or None if there is no such bound.

    Adaptive computation pruning (arXiv 2504.06949): scores lie within ``u = max |q| max |k|`` of zero, and a query that
    sees itself has no bias there, so all weights of a bias below ``log(e / S) - 2 u`` sum to less than ``e``, here a
    thousandth of a rounding error.

    Args:
        q: ``[..., T, D]``, scaled.
        k: ``[..., S, D]``.
        log_forget: the gates; above 0 or NaN, where nobody checked, they would not fade.
    """
    gates = log_forget if isinstance(log_forget, tuple) else (log_forget,)
    if torch.compiler.is_compiling() or not q.numel() or not k.numel():
        return None
    with torch.no_grad():
        bound = float(q.norm(dim=-1).max() * k.norm(dim=-1).max())
        if not (math.isfinite(bound) and all(float(gate.max()) <= 0 for gate in gates)):
            return None
    return math.log(torch.finfo(q.dtype).eps / 1000 / k.shape[-2]) - 2 * bound


class BlockAttention(torch.autograd.Function):
    """``q [B, K, G, T, D]`` (scaled; G queries share a key head), ``k [B, K, S, D]``, ``v [B, K, S, E]``."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        past: torch.Tensor | None,
        future: torch.Tensor | None,
        past_resets: torch.Tensor | None,
        future_resets: torch.Tensor | None,
        key_mask: torch.Tensor | None,
        first: torch.Tensor | None,
        stop: torch.Tensor | None,
        causal: bool,
        window: int | None,
        options: Options,
    ) -> torch.Tensor:
        """Mix the values, ``[B, K, G, T, E]``, block by block."""
        ctx.save_for_backward(q, k, v, past, future, past_resets, future_resets, key_mask, first, stop)
        ctx.causal, ctx.window, ctx.options = causal, window, options
        rules = Sight(causal, window, key_mask, first, stop)
        fading = _decay(past, future, past_resets, future_resets)
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        for span in options.spans:
            i0, i1, lo, hi = span
            scores, sign = _scores(q, k, fading, rules, options, span)
            weights, _ = _clipped(_softmax(scores, rules), scores, options)
            if sign is not None:
                weights = weights * sign
            out[..., i0:i1, :] = (weights.flatten(2, 3) @ v[:, :, lo:hi]).view_as(out[..., i0:i1, :])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Make each block again and add its share to the gradients."""
        with uncast(grads[0].device):
            return _backward(ctx, *grads)


def _backward(ctx: Any, d_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    q, k, v, past, future, past_resets, future_resets, key_mask, first, stop = ctx.saved_tensors
    options: Options = ctx.options
    rules = Sight(ctx.causal, ctx.window, key_mask, first, stop)
    fading = _decay(past, future, past_resets, future_resets)
    d_fading = None if fading is None else Decay(*(torch.zeros_like(t) for t in fading))
    d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for span in options.spans:
        i0, i1, lo, hi = span
        d_rows = d_out[..., i0:i1, :].flatten(2, 3)
        scores, sign = _scores(q, k, fading, rules, options, span)
        softmax = _softmax(scores, rules)
        weights, slope = _clipped(softmax, scores, options)
        signed = weights if sign is None else weights * sign
        d_v[:, :, lo:hi] += signed.flatten(2, 3).transpose(-1, -2) @ d_rows
        d_weights = (d_rows @ v[:, :, lo:hi].transpose(-1, -2)).view_as(scores)
        if sign is not None:
            d_weights = d_weights * sign
        if slope is not None:
            d_weights = d_weights * slope
        d_scores = softmax * d_weights
        d_scores = d_scores - softmax * d_scores.sum(-1, keepdim=True)
        if d_fading is not None:
            add_gradient_(d_scores, d_fading, i0, i1, lo, causal=ctx.causal)
        if sign is not None:
            d_scores = d_scores * sign
        d_flat = d_scores.flatten(2, 3)
        d_q[..., i0:i1, :] = (d_flat @ k[:, :, lo:hi]).view_as(q[..., i0:i1, :])
        d_k[:, :, lo:hi] += d_flat.transpose(-1, -2) @ q[..., i0:i1, :].flatten(2, 3)
    d_past, d_future = (None, None) if d_fading is None else d_fading[:2]
    return d_q, d_k, d_v, d_past, d_future, None, None, None, None, None, None, None, None


def _decay(*parts: torch.Tensor | None) -> Decay | None:
    past, future, past_resets, future_resets = parts
    if past is None or future is None or past_resets is None or future_resets is None:
        return None
    return Decay(past, future, past_resets, future_resets)


def _scores(
    q: torch.Tensor, k: torch.Tensor, fading: Decay | None, rules: Sight, options: Options, span: Span
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the scores ``[B, K, G, n, keys]``, -inf where nothing is seen, and their signs if they count."""
    i0, i1, lo, hi = span
    rows = q[..., i0:i1, :]
    scores = (rows.flatten(2, 3) @ k[:, :, lo:hi].transpose(-1, -2)).view(*rows.shape[:-1], hi - lo)
    sign = None
    if options.signed:
        sign, scores = torch.sign(scores), scores.abs()
    if fading is not None:
        add_bias_(scores, fading, i0, i1, lo)
    if rules.only_causal:
        lo, hi = i0, i1  # all keys before the block are seen
    seen = visible(rules, i0, i1, lo, hi, q.device)
    if seen is not None:
        scores[..., lo - hi :].masked_fill_(~seen[:, None, None], float("-inf"))
    return scores, sign


def _softmax(scores: torch.Tensor, rules: Sight) -> torch.Tensor:
    softmax = torch.softmax(scores, -1)
    if rules.key_mask is None:
        return softmax  # every query sees itself at least
    return softmax.masked_fill(~(scores > float("-inf")).any(-1, keepdim=True), 0.0)


def _clipped(softmax: torch.Tensor, scores: torch.Tensor, options: Options) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the weights and their slope over the softmax (None is one)."""
    if options.clip is None:
        return softmax, None
    gamma = -options.clip / (scores > float("-inf")).sum(-1, keepdim=True, dtype=scores.dtype).clamp_min(1)
    line = (1 - gamma) * softmax + gamma
    return line.clamp_min(0), (1 - gamma) * (line >= 0)
