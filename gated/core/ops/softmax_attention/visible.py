"""Who sees whom: causality, sequences of a pack, neighbourhood windows and key masks, for any block of the matrix."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import torch


class Sight(NamedTuple):
    """What hides a key from a query.

    Attributes:
        causal: query ``i`` sees keys ``0..i``.
        window: size of the neighbourhood, or None.
        key_mask: ``[B, S]`` bool, or None.
        first: ``[B or 1, T]``, where the sequence of a query begins; None where no sequence has limits.
        stop: ``[B or 1, T]``, one past its end.
    """

    causal: bool
    window: int | None
    key_mask: torch.Tensor | None
    first: torch.Tensor | None
    stop: torch.Tensor | None

    @property
    def only_causal(self) -> bool:
        """Nothing but the order of time hides a key."""
        return self.causal and self.window is None and self.key_mask is None and self.first is None


def sight(
    length: int,
    device: torch.device,
    *,
    causal: bool,
    key_mask: torch.Tensor | None,
    window: int | None,
    cu_seqlens: torch.Tensor | None,
) -> Sight:
    """Gather the rules for ``length`` queries; the limits of sequences come from the pack, or from the real keys."""
    first = stop = None
    place = torch.arange(length, device=device)
    if cu_seqlens is not None:
        cu_seqlens = cu_seqlens.contiguous()
        sequence = torch.searchsorted(cu_seqlens, place.to(cu_seqlens.dtype), right=True)
        first, stop = cu_seqlens[sequence - 1][None], cu_seqlens[sequence][None]
    elif window is not None and not causal:
        first, stop = torch.zeros_like(place)[None], torch.full_like(place, length)[None]
        if key_mask is not None and length:
            # the border is that of the real keys, or padding would shift the windows near it; a padded query extends it
            first = torch.where(key_mask, place, length).amin(-1, keepdim=True).minimum(place)
            stop = torch.where(key_mask, place + 1, 0).amax(-1, keepdim=True).maximum(place + 1)
    return Sight(causal, window, key_mask, first, stop)


def intervals(rules: Sight, i0: int, i1: int, device: torch.device) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the first key that queries ``i0..i1-1`` may see and the one past the last, ``[B or 1, i1 - i0]`` each.

    Key masks apart, every rule leaves a query one run of keys, whose ends never step back from one query to the next.
    The neighbourhood of ``window`` keys starts at ``i - window // 2``, moved inside the limits of the sequence. None is
    an end without a rule.
    """
    i = torch.arange(i0, i1, device=device)[None]
    begin = end = None
    if rules.first is not None and rules.stop is not None:
        begin, end = rules.first[:, i0:i1], rules.stop[:, i0:i1]
        if rules.window is not None and not rules.causal:
            begin = torch.maximum((i - rules.window // 2).minimum(end - rules.window), begin)
            end = end.minimum(begin + rules.window)
    if rules.window is not None and rules.causal:
        nearest = (i - rules.window + 1).clamp_min(0)
        begin = nearest if begin is None else torch.maximum(begin, nearest)
    return begin, i + 1 if rules.causal else end


def visible(rules: Sight, i0: int, i1: int, lo: int, hi: int, device: torch.device) -> torch.Tensor | None:
    """Return which of keys ``lo..hi-1`` queries ``i0..i1-1`` see, ``[B or 1, i1 - i0, hi - lo]``; None is all."""
    begin, end = intervals(rules, i0, i1, device)
    j = torch.arange(lo, hi, device=device)
    seen = []
    if begin is not None:
        seen.append(j >= begin[..., None])
    if end is not None:
        seen.append(j < end[..., None])
    if rules.key_mask is not None:
        seen.append(rules.key_mask[:, None, lo:hi])
    return reduce(torch.logical_and, seen) if seen else None
