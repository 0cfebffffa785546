"""The ``gated`` command: a front door of the standard library alone; everything heavy is imported behind it."""
