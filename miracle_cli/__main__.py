"""``python -m miracle_cli`` is ``miracle``."""

from miracle_cli.start import run

run()
