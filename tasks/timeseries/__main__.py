"""``python -m tasks.timeseries``: the same as ``gated timeseries``."""

import sys

from gated.cli.main import main

raise SystemExit(main(["timeseries", *sys.argv[1:]]))
