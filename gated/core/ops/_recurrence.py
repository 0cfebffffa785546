"""What the recurrences share around their forms: result, grouped heads, padding, packing and direction.

A form only ever sees the plain case: forward, equal numbers of heads, no mask. Queries, gates and states are fp32 or
double, and so are keys and values unless they came in half precision.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Literal, NamedTuple, TypeAlias

import torch

from gated.core.ops._checks import Shapes
from gated.core.ops._op import is_exporting, uncast
from gated.errors import UserError, did_you_mean

Direction: TypeAlias = Literal["forward", "reverse", "both"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "reverse", "both")


class Recurrence(NamedTuple):
    """Result of a recurrence.

    Attributes:
        output: ``[B, HV, T, V]`` in the dtype of the values.
        state: ``[B, HV, K, V]`` in fp32 or double, None unless asked for.
    """

    output: torch.Tensor
    state: torch.Tensor | None


class Inputs(NamedTuple):
    """Tensors along time: ``q, k [B, N, T, K]``, ``v [B, N, T, V]``, others ``[B, N, T]``, ``[B, N, T, K]`` or None."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    log_decay: torch.Tensor | None
    beta: torch.Tensor | None

    def wide(self) -> Inputs:
        """Keys and values in the dtype of the queries too."""
        return self._replace(k=self.k.to(self.q.dtype), v=self.v.to(self.q.dtype))

    def scaled(self, scale: float) -> Inputs:
        """Queries times ``scale``."""
        return self._replace(q=self.q * scale)

    def start(self, state: torch.Tensor | None) -> torch.Tensor:
        """``state``, or one of zeros ``[B, N, K, V]``."""
        if state is not None:
            return state
        batch, heads, _, width = self.q.shape
        return self.q.new_zeros(batch, heads, width, self.v.shape[-1])


Form: TypeAlias = Callable[[Inputs, torch.Tensor | None, float], tuple[torch.Tensor, torch.Tensor]]
"""``(inputs, initial state [B, N, K, V] or None for zeros, factor on the queries)`` to ``(output [B, N, T, V], final
state)``, forward in time."""


def check_inputs(
    op: str,
    inputs: Inputs,
    *,
    decay_bound: float | None,
    scale: float | None,
    direction: Direction,
    mask: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    initial_state: torch.Tensor | None,
    check: bool,
) -> None:
    """Check shapes and dtypes and, if ``check``, the values of the gate; costs nothing under compile and export.

    Raises:
        UserError: naming the argument, what was expected and what came.
    """
    q, k, v, log_decay, beta = inputs
    shapes = Shapes(op).check("q", q, "B H T K").check("k", k, "B H T K").check("v", v, "B HV T V")
    if direction not in DIRECTIONS:
        raise UserError(f"{op}: unknown direction {direction!r}", hint=did_you_mean(str(direction), DIRECTIONS))
    if not shapes.active:
        if cu_seqlens is not None and is_exporting():
            raise UserError(
                f"{op}: packed sequences cannot be exported, their shapes depend on the values of cu_seqlens",
                hint="export the network with padded sequences and a mask",
            )
        # an export with a dynamic length gives every tensor one of its own until told that they are one
        for x in (k, v, *(x for x in (log_decay, beta) if x is not None and x.dim() > 1)):
            torch._check(x.shape[2] == q.shape[2])
        return
    if v.shape[1] % q.shape[1] if q.shape[1] else v.shape[1]:
        raise UserError(
            f"{op}: v has the wrong number of heads", expected=f"a multiple of H={q.shape[1]}", found=f"HV={v.shape[1]}"
        )
    shapes.floating(q=q, k=k, v=v, log_decay=log_decay, beta=beta).number(scale=scale, decay_bound=decay_bound)
    shapes.check("beta", beta, "B HV T", "B H T").check("mask", mask, "B T").dtype("mask", mask, torch.bool)
    shapes.check("log_decay", log_decay, "B HV T K", "B H T K", "B HV T", "B H T", "HV", "H")
    if cu_seqlens is not None:
        check_packing(op, cu_seqlens, q, mask)
        shapes.sizes["N"] = cu_seqlens.shape[0] - 1
    shapes.check("initial_state", initial_state, "B HV K V" if cu_seqlens is None else "N HV K V")
    if initial_state is not None and initial_state.dtype not in (torch.float32, torch.float64):
        raise UserError(
            f"{op}: initial_state has the wrong dtype", expected="float32 or float64", found=str(initial_state.dtype)
        )
    if decay_bound is not None and not decay_bound <= 0:
        raise UserError(f"{op}: decay_bound is not a bound on log_decay", expected="<= 0", found=str(decay_bound))
    if check and log_decay is not None and log_decay.numel() and not log_decay.is_meta:
        gate = log_decay.detach()
        if mask is not None and gate.dim() > 1:  # padding may hold anything
            gate = gate.masked_fill(~(mask[:, None, :] if gate.dim() == 3 else mask[:, None, :, None]), 0.0)
        low, high = (float(x) for x in torch.aminmax(gate))
        if not high <= 0:  # NaN too
            raise UserError(
                f"{op}: log_decay must not grow the state",
                expected="every log_decay <= 0",
                found=f"a largest value of {high:g}",
                hint="pass logsigmoid(x) or -softplus(x)",
            )
        # as the gate's dtype rounds it: what a caller makes of it there may lie no lower
        if decay_bound is not None and low < float(torch.tensor(decay_bound, dtype=log_decay.dtype)):
            raise UserError(
                f"{op}: log_decay breaks the stated decay_bound",
                expected=f"every log_decay >= {decay_bound:g}",
                found=f"a smallest value of {low:g}",
                hint="leave decay_bound out, or bound the gate, e.g. decay_bound * sigmoid(x)",
            )


def check_packing(op: str, cu_seqlens: torch.Tensor, q: torch.Tensor, mask: torch.Tensor | None) -> None:
    if mask is not None:
        raise UserError(f"{op}: mask and cu_seqlens exclude each other", hint="leave padding out of a packed row")
    Shapes(op).check("cu_seqlens", cu_seqlens, "N+1")
    if cu_seqlens.shape[0] < 1 or cu_seqlens.dtype not in (torch.int32, torch.int64):
        wrong = "dtype" if cu_seqlens.shape[0] else "shape"
        raise UserError(
            f"{op}: cu_seqlens has the wrong {wrong}: it must hold the offsets of N packed sequences",
            expected="[N+1] of int32 or int64",
            found=f"{list(cu_seqlens.shape)} of {cu_seqlens.dtype}",
        )
    offsets = cu_seqlens.tolist()
    if q.shape[0] != 1 or offsets[0] != 0 or offsets[-1] != q.shape[2] or sorted(offsets) != offsets:
        raise UserError(
            f"{op}: cu_seqlens does not fit",
            expected=f"B=1 and offsets that rise from 0 to T={q.shape[2]}",
            found=f"B={q.shape[0]} and {offsets if len(offsets) < 9 else [*offsets[:8], '...']}",
        )


def run(
    form: Form,
    inputs: Inputs,
    *,
    scale: float | None,
    direction: Direction,
    mask: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    initial_state: torch.Tensor | None,
    return_state: bool,
) -> Recurrence:
    """Reduce a call to the plain case, run ``form`` and put its result back into the caller's shape and dtype."""
    dtype, device = inputs.v.dtype, inputs.v.device
    valid = None
    if cu_seqlens is not None:
        inputs, mask = _unpack(inputs, cu_seqlens)
        valid = mask
    inputs = _even_heads(inputs, mask)
    scale = max(inputs.q.shape[-1], 1) ** -0.5 if scale is None else scale
    start = None if initial_state is None else initial_state.to(inputs.q.dtype)
    # autocast would put the state into half precision
    with uncast(device):
        output, state = _directed(form, inputs, start, scale, direction)
    if state is not None and state is start:  # of no tokens
        state = state.clone()
    if mask is not None:
        output = output.masked_fill(~mask[:, None, :, None], 0.0)
    if valid is not None:
        output = output.transpose(0, 1)[:, valid].unsqueeze(0)
    return Recurrence(output.to(dtype), state if return_state else None)


SEGMENT = 2**18
"""Elements of a tensor worked on at once: what is made of them stays near the processor (30 % faster at 4096 tokens),
in blocks that the allocator keeps (beyond, the system spends half of the time on mapping memory)."""


def in_segments(
    form: Callable[[Inputs, torch.Tensor], tuple[torch.Tensor, torch.Tensor]], inputs: Inputs, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run ``form`` on one stretch of time after the other, which bounds the size of what it makes on its way."""
    batch, heads, length, width = inputs.q.shape
    size = max(256, SEGMENT // max(1, batch * heads * max(width, inputs.v.shape[-1])) // 64 * 64)
    if torch.compiler.is_compiling() or length <= size:
        return form(inputs, state)
    outputs = []
    # split, not slices: the gradient of a slice is as long as the whole
    stretches = [repeat(None) if x is None else x.split(size, 2) for x in inputs]
    for stretch in zip(*stretches, strict=False):
        output, state = form(Inputs(*stretch), state)
        outputs.append(output)
    return torch.cat(outputs, 2), state


def _directed(
    form: Form, inputs: Inputs, state: torch.Tensor | None, scale: float, direction: Direction
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if direction == "forward":
        return form(inputs, state, scale)
    if direction == "both":
        halves = [_directed(form, inputs, state, scale, half)[0] for half in DIRECTIONS[:2]]
        # the own token is in both
        q, k, v, _, _ = inputs.wide().scaled(scale)
        own = (q * k).sum(-1, keepdim=True) * v
        return halves[0] + halves[1] - own, state
    flipped = Inputs(*(None if x is None else x.flip(2) for x in inputs))  # type: ignore[arg-type]
    gate = flipped.log_decay
    if gate is None:
        output, state = form(flipped, state, scale)
    else:
        # between t and t + 1 lies the gate of t + 1 in either direction, so the mirrored scan has it one step earlier
        shifted = torch.cat((torch.zeros_like(gate[:, :, :1]), gate), 2)[:, :, :-1]
        output, state = form(flipped._replace(log_decay=shifted), state, scale)
        # what a caller hands to the sequence on the left has passed the gate of this one's first token
        edge = torch.exp(gate[:, :, -1:].sum(2))
        state = state * (edge[..., None, None] if edge.dim() == 2 else edge[..., None])
    return output.flip(2), state


def _even_heads(inputs: Inputs, mask: torch.Tensor | None) -> Inputs:
    """One query, key and gate a value head; masked tokens neither write nor decay."""
    q, k, v, gate, beta = inputs
    batch, heads, length, _ = v.shape
    wide = torch.promote_types(torch.promote_types(q.dtype, k.dtype), torch.promote_types(v.dtype, torch.float32))

    def even(x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 1:
            x = x[None, :, None].expand(batch, -1, length)
        if x.shape[1] != heads:
            x = x.repeat_interleave(heads // x.shape[1], 1)
        if mask is None:
            return x
        return x.masked_fill(~(mask[:, None, :] if x.dim() == 3 else mask[:, None, :, None]), 0.0)

    gate, beta = (None if x is None else even(x.to(wide)) for x in (gate, beta))
    k, v = (even(x if x.dtype.itemsize == 2 and wide == torch.float32 else x.to(wide)) for x in (k, v))
    return Inputs(even(q.to(wide)), k, v, gate, beta)


def _unpack(inputs: Inputs, cu_seqlens: torch.Tensor) -> tuple[Inputs, torch.Tensor]:
    """Lay the sequences of one packed row under each other, padded on the right, with the mask of what is real."""
    lengths = cu_seqlens.diff()
    longest = int(lengths.max()) if lengths.numel() else 0
    steps = torch.arange(longest, device=cu_seqlens.device)
    valid = steps < lengths[:, None]
    index = (cu_seqlens[:-1, None] + steps) * valid

    def spread(x: torch.Tensor | None) -> torch.Tensor | None:
        if x is None or x.dim() == 1:
            return x
        return x[0][:, index].transpose(0, 1)

    return Inputs(*(spread(x) for x in inputs)), valid  # type: ignore[arg-type]
