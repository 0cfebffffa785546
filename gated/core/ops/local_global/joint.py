"""What the fast forms share: streams side by side, and the linear sum over the whole sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from gated.core.ops._decay import in_chunks, leading


def attend(
    local: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    q_local: torch.Tensor,
    k_local: torch.Tensor,
    q_global: torch.Tensor,
    k_global: torch.Tensor,
    values: tuple[torch.Tensor, ...],
    *,
    group_size: int,
    causal: bool,
    mask: torch.Tensor | None,
) -> tuple[torch.Tensor, ...]:
    """Add the global sum to ``local(q, k, v)``, attention inside groups; see :func:`gated.core.ops.local_global`."""
    # one product for all streams: the scores are shared, so the streams are columns of one value matrix
    v = torch.cat(values, -1)
    if causal:
        far = _before(q_global, k_global, v, group_size)
    else:
        wide = _wide(v.dtype)
        count = max(v.shape[2], 1) if mask is None else mask.sum(-1).clamp_min(1).to(wide)[:, None, None, None]
        far = q_global @ (k_global.to(wide).transpose(-1, -2) @ v.to(wide) / count).to(v.dtype)
    out = local(q_local, k_local, v) + far
    return tuple(out.split([value.shape[-1] for value in values], -1))


def _before(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, size: int) -> torch.Tensor:
    """The sum over the groups before the own one."""
    q_groups, k_groups, v_groups = (in_chunks(x, size) for x in (q, k, v))
    wide = _wide(v.dtype)
    per_group = k_groups.to(wide).transpose(-1, -2) @ v_groups.to(wide) / size
    # not the sum over all less the own: what is large would swallow what came before
    before = F.pad(per_group, (0, 0, 0, 0, 1, 0))[:, :, :-1].cumsum(2)
    return leading((q_groups @ before.to(v.dtype)).flatten(2, 3), 2, v.shape[2])


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Where a sum over all tokens is kept before it is divided: fp16 ends at 65,504."""
    return torch.float32 if dtype == torch.float16 else dtype
