"""``python -m gated``: the same as the ``gated`` command."""

from gated.cli.main import main

raise SystemExit(main())
