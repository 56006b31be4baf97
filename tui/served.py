"""An explorer that the web server runs: it uses pipes instead of a terminal."""

from __future__ import annotations

import os

from textual.drivers.web_driver import WebDriver
from textual.messages import ExitApp


def is_served() -> bool:
    """Whether the web server started this process."""
    # This is how textual-serve marks the processes that it starts.
    return os.environ.get("TEXTUAL_DRIVER") == "textual.drivers.web_driver:WebDriver"


class ServedDriver(WebDriver):
    """Textual's driver for pipes. The explorer ends when the server ends, for any reason."""

    def run_input_thread(self) -> None:
        """Read what the server sends. The end of the input means that the server is gone."""
        super().run_input_thread()
        self._app.post_message(ExitApp())
