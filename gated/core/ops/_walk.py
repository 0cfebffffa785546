"""Through time piece after piece with the gradient written out, so that what a piece makes is still in the cache.

The other forms do each step for the whole sequence at once, and its tensors have left the processor's cache when the
next step reads them: of a short sequence of many heads, twice the time. Here all steps of a piece follow each other,
and backward, where autograd would spread them out again, takes the pieces from the last to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F

from gated.core.ops._op import uncast
from gated.core.ops._recurrence import Inputs

_CACHED = 2**17
"""Elements of a tensor that stays in the cache with those around it."""

Tensors: TypeAlias = Sequence[torch.Tensor]
Maybe: TypeAlias = torch.Tensor | None
Pair: TypeAlias = tuple[torch.Tensor, torch.Tensor]


class Steps(NamedTuple):
    """What an op does with a piece of time; tensors of it are ``[N, C, ...]``, states ``[N, K, V]`` or None for zeros.

    Attributes:
        forward: ``(scale, inputs, state before, output) -> (state after, what backward needs)``: fills ``output``, and
            keeps as many tensors of every piece.
        backward: ``(scale, inputs, kept, state before, d_output, d_state after or None, d_inputs) -> d_state before``:
            fills ``d_inputs``, may change ``d_state``, and returns None exactly where the state before is.
        plain: the op on whole sequences in operations that autograd follows, for the gradient of a gradient; queries
            come scaled.
        multiple: a piece has a multiple of so many tokens; zeros are appended to the last.
    """

    forward: Callable[[float, Tensors, Maybe, torch.Tensor], tuple[torch.Tensor, Tensors]]
    backward: Callable[[float, Tensors, Tensors, Maybe, torch.Tensor, Maybe, Tensors], Maybe]
    plain: Callable[[Inputs, torch.Tensor], Pair]
    multiple: int = 1


def at_once(elements: int) -> int:
    """How many parts of so many elements a tensor may have that stays in the cache; one at least."""
    return max(1, _CACHED // max(1, elements))


def walk(steps: Steps, inputs: Tensors, state: Maybe, scale: float, *, size: int, heads: int) -> Pair:
    """Return the output ``[B, N, T, V]`` and the state after the last token ``[B, N, K, V]``.

    Args:
        steps: of the op.
        inputs: ``[B, N, T, ...]``, ``T`` at least one, in the order of :class:`Inputs` and none of them None.
        state: ``[B, N, K, V]``, or None for zeros.
        scale: factor on the queries, for products to take along: a pass of its own would be read from memory.
        size: tokens in a piece.
        heads: how many of the ``B N`` to take at a time.
    """
    batch = inputs[0].shape[:2]
    flat = [None if x is None else x.flatten(0, 1) for x in (*inputs, state)]
    if batch.numel() <= heads:  # not a split into one: its gradient would be a copy
        output, after = _walk(steps, scale, size, flat)
    else:
        groups = [[None] * -(-batch.numel() // heads) if x is None else x.split(heads) for x in flat]
        results = [_walk(steps, scale, size, group) for group in zip(*groups, strict=True)]
        output, after = map(torch.cat, zip(*results, strict=True))
    return output.unflatten(0, batch), after.unflatten(0, batch)


def _walk(steps: Steps, scale: float, size: int, tensors: Sequence[Maybe]) -> Pair:
    if torch.is_grad_enabled():
        result: Pair = _Walk.apply(steps, scale, size, *tensors)
        return result
    output, after, _ = _forward(steps, scale, size, tensors, keep=False)
    return output, after


def _forward(
    steps: Steps, scale: float, size: int, tensors: Sequence[Maybe], *, keep: bool
) -> tuple[torch.Tensor, torch.Tensor, list[Maybe]]:
    """Output, last state, and if ``keep`` what backward needs: states before the pieces, then what else is kept."""
    *inputs, state = tensors
    output, outputs = _room(inputs[2], size)
    kept: list[Maybe] = []
    states = [state]
    for *piece, target in zip(*_pieces(inputs, size), outputs, strict=True):
        given, (out,) = _padded(piece, steps.multiple), _padded([target], steps.multiple)
        state, found = steps.forward(scale, given, state, out)
        _fill([target], [out])
        if keep:
            states.append(state)
            kept.extend(found)
    assert state is not None
    return _whole(output, outputs), state, [*states[:-1], *kept]


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: Steps, scale: float, size: int, *tensors: Maybe) -> Any:
        """See :func:`walk`."""
        ctx.steps, ctx.scale, ctx.size, ctx.inputs = steps, scale, size, len(tensors) - 1
        ctx.set_materialize_grads(False)
        output, after, kept = _forward(steps, scale, size, tensors, keep=True)
        ctx.save_for_backward(*tensors[:-1], *kept)
        return output, after

    @staticmethod
    def backward(ctx: Any, d_output: Maybe, d_state: Maybe) -> tuple[Any, ...]:
        """Pieces from the last to the first, with the gradient of the state between them."""
        steps, inputs, saved = ctx.steps, ctx.saved_tensors[: ctx.inputs], ctx.saved_tensors[ctx.inputs :]
        if torch.is_grad_enabled():  # a gradient that will itself be differentiated
            whole = partial(_plainly, steps.plain, ctx.scale)
            wanted = ctx.needs_input_grad[3:]
            return None, None, None, *_differentiable(whole, (*inputs, saved[0]), (d_output, d_state), wanted)
        with uncast(inputs[0].device):
            d_output = torch.zeros_like(inputs[2]) if d_output is None else d_output
            d_state = None if d_state is None else d_state.clone()
            pieces = list(zip(*_pieces((d_output, *inputs), ctx.size), strict=True))
            rooms = [_room(x, ctx.size) for x in inputs]
            states, kept = saved[: len(pieces)], saved[len(pieces) :]
            each = len(kept) // len(pieces)
            for m in reversed(range(len(pieces))):
                d_out, *piece = _padded(pieces[m], steps.multiple)
                targets = [room[1][m] for room in rooms]
                d_piece, found = _padded(targets, steps.multiple), kept[m * each : (m + 1) * each]
                d_state = steps.backward(ctx.scale, piece, found, states[m], d_out, d_state, d_piece)
                _fill(targets, d_piece)
        return None, None, None, *(_whole(*room) for room in rooms), d_state


def _pieces(tensors: Iterable[Maybe], size: int) -> list[Tensors]:
    return [x.split(size, 1) for x in tensors if x is not None]


def _room(like: Maybe, size: int) -> tuple[Maybe, Tensors]:
    """A tensor and its pieces, to be filled; only pieces in a graph, where writing into one would copy the whole."""
    assert like is not None
    if torch.compiler.is_compiling():
        return None, [torch.empty_like(x, memory_format=torch.contiguous_format) for x in like.split(size, 1)]
    whole = torch.empty_like(like, memory_format=torch.contiguous_format)
    return whole, whole.split(size, 1)


def _whole(tensor: Maybe, pieces: Tensors) -> torch.Tensor:
    return torch.cat(list(pieces), 1) if tensor is None else tensor


def _padded(piece: Tensors, multiple: int) -> Tensors:
    missing = -piece[0].shape[1] % multiple
    return [F.pad(x, [0, 0] * (x.dim() - 2) + [0, missing]) for x in piece] if missing else piece


def _fill(targets: Tensors, written: Tensors) -> None:
    for target, full in zip(targets, written, strict=True):
        if full is not target:
            target.copy_(full[:, : target.shape[1]])


def _plainly(plain: Callable[[Inputs, torch.Tensor], Pair], scale: float, *tensors: Maybe) -> Pair:
    """What a walk does, of ``[N, T, ...]``."""
    *given, state = (None if x is None else x.unsqueeze(1) for x in tensors)
    inputs = Inputs(*given, *[None] * (len(Inputs._fields) - len(given))).scaled(scale)  # type: ignore[arg-type]
    output, after = plain(inputs, inputs.start(state))
    return output.squeeze(1), after.squeeze(1)


def _differentiable(
    whole: Callable[..., Pair],
    inputs: tuple[Maybe, ...],
    grads: tuple[Maybe, Maybe],
    needed: tuple[bool, ...],
) -> list[Maybe]:
    """Gradients of ``inputs`` by autograd through ``whole``."""
    reached = [(result, grad) for result, grad in zip(whole(*inputs), grads, strict=True) if grad is not None]
    wanted = [x for x, need in zip(inputs, needed, strict=True) if need and x is not None]
    results, carried = zip(*reached, strict=True)
    found = iter(torch.autograd.grad(results, wanted, carried, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needed]
