"""Elementwise linear recurrence with real or complex decay."""

from gated.core.ops.scan.api import scan

__all__ = ["scan"]
