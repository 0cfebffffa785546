"""The shared core: gated operations (``ops``), token mixers (``mixers``) and the blocks around them (``nn``)."""
