"""``python -m tasks.vision``: the same as ``gated vision``."""

import sys

from gated.cli.main import main

raise SystemExit(main(["vision", *sys.argv[1:]]))
