"""Gated linear attention: a matrix-valued state with no, per-head or per-channel decay."""

from gated.core.ops.linear_recurrence.api import linear_recurrence

__all__ = ["linear_recurrence"]
