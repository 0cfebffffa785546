"""The gated delta rule: a decaying state that replaces what it holds for a key instead of adding to it."""

from gated.core.ops.delta_recurrence.api import delta_recurrence

__all__ = ["delta_recurrence"]
