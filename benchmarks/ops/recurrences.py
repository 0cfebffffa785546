"""The recurrences beside a plain loop over tokens and beside torch's causal attention, in one run on one thread.

Command: OMP_NUM_THREADS=1 python benchmarks/ops/recurrences.py (about a minute). Process time in ms, least of 5, fp32,
K = V = 64, forward and backward.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from gated.core.ops import delta_recurrence, linear_recurrence


def loop(q, k, v, g, beta=None):
    state, outputs = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1]), []
    for t in range(q.shape[2]):
        if g is not None:
            state = state * (g[:, :, t, :, None] if g.dim() == 4 else g[:, :, t, None, None]).exp()
        value = v[:, :, t]
        if beta is not None:
            value = beta[:, :, t, None] * (value - (state * k[:, :, t, :, None]).sum(-2))
        state = state + k[:, :, t, :, None] * value[:, :, None, :]
        outputs.append((q[:, :, t, :, None] * state).sum(-2) * q.shape[-1] ** -0.5)
    return torch.stack(outputs, 2)


def milliseconds(function: Callable[..., torch.Tensor], tensors: list[torch.Tensor], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        torch.autograd.grad(function(*tensors).square().sum(), tensors)
        times.append(1e3 * (time.process_time() - start))
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'B H T':>10} {'op':<34} {'ms':>8} {'loop / ms':>10} {'sdpa / ms':>10}")
    for batch, heads, length in ((1, 4, 1024), (1, 4, 4096), (8, 3, 197)):
        q, k, v = (torch.randn(batch, heads, length, 64).requires_grad_() for _ in "qkv")
        unit = F.normalize(k, dim=-1).detach().requires_grad_()
        head, channel = (-torch.rand(batch, heads, length, *size) for size in ((), (64,)))
        beta = torch.rand(batch, heads, length).requires_grad_()
        head.requires_grad_(), channel.requires_grad_()
        sdpa = milliseconds(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), [q, k, v], 5)

        def linear(q, k, v, g=None, bound=None):
            return linear_recurrence(q, k, v, g, decay_bound=bound).output

        def delta(q, k, v, g, beta, bound=None):
            return delta_recurrence(q, k, v, beta, g, decay_bound=bound).output

        def plain(q, k, v):
            return loop(q, k, v, None)

        rows = {
            "linear, no decay": (linear, plain, [q, k, v]),
            "linear, per head": (linear, loop, [q, k, v, head]),
            "linear, per channel, exact": (linear, loop, [q, k, v, channel]),
            "linear, per channel, bounded by -5": (lambda *t: linear(*t, bound=-5.0), loop, [q, k, v, channel]),
            "delta, per head": (delta, loop, [q, unit, v, head, beta]),
            "delta, per channel, exact": (delta, loop, [q, unit, v, channel, beta]),
            "delta, per channel, bounded by -5": (lambda *t: delta(*t, bound=-5.0), loop, [q, unit, v, channel, beta]),
        }
        for name, (ours, naive, tensors) in rows.items():
            ms = milliseconds(ours, tensors, 5)
            # the loop is too slow to be run at every size
            ratio = f"{milliseconds(naive, tensors, 2) / ms:9.1f}x" if length == 1024 else f"{'':>10}"
            print(f"{batch:>2} {heads} {length:>5} {name:<34} {ms:8.1f} {ratio} {sdpa / ms:9.2f}x", flush=True)


if __name__ == "__main__":
    main()
