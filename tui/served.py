"""One explorer as the web server runs it: pipes in the place of a terminal."""

from __future__ import annotations

import os

from textual.drivers.web_driver import WebDriver
from textual.messages import ExitApp


def is_served() -> bool:
    """Whether the web server started this process."""
    # So textual-serve says that its pipes carry packets.
    return os.environ.get("TEXTUAL_DRIVER") == "textual.drivers.web_driver:WebDriver"


class ServedDriver(WebDriver):
    """Textual's driver for pipes; the explorer ends with the server, however that ends."""

    def run_input_thread(self) -> None:
        """Read what the server sends; nothing more means that there is no server."""
        super().run_input_thread()
        self._app.post_message(ExitApp())
