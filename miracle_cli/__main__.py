"""``python -m miracle_cli`` is ``miracle``."""

from miracle_cli.main import run

run()
