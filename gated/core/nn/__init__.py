"""Blocks that stand around the mixers; torch only, and no import of the mixers (they come as factories)."""
