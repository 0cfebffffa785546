"""``python -m tasks.speech``: the same as ``gated speech``."""

import sys

from gated.cli.main import main

raise SystemExit(main(["speech", *sys.argv[1:]]))
