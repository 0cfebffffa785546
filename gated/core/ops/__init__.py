"""Gated operations on ``[B, H, T, D]`` tensors, each with a readable reference and a fast form.

Every op is one public function; ``impl="auto"`` picks a form. See each folder's README for the maths and the papers.
"""

from gated.core.ops.delta_recurrence import delta_recurrence
from gated.core.ops.gated_conv import gated_conv
from gated.core.ops.gpsa import gpsa
from gated.core.ops.linear_recurrence import linear_recurrence
from gated.core.ops.local_global import local_global
from gated.core.ops.scan import scan
from gated.core.ops.softmax_attention import softmax_attention

__all__ = [
    "delta_recurrence",
    "gated_conv",
    "gpsa",
    "linear_recurrence",
    "list_ops",
    "local_global",
    "scan",
    "softmax_attention",
]


def list_ops() -> list[str]:
    """Return the names of all ops."""
    return [name for name in __all__ if name != "list_ops"]
