"""An explorer that the web server runs: it uses pipes instead of a terminal."""

from __future__ import annotations

import os
from typing import Any

from textual.app import App
from textual.drivers.web_driver import WebDriver
from textual.messages import ExitApp

# The most columns and rows. The page asks for as many as fit its window; a client that asks for
# millions would make this process take all memory.
MOST = (1000, 500)


def is_served() -> bool:
    """Whether the web server started this process."""
    # This is how textual-serve marks the processes that it starts.
    return os.environ.get("TEXTUAL_DRIVER") == "textual.drivers.web_driver:WebDriver"


def bounded(width: int, height: int) -> tuple[int, int]:
    """A size in cells that can be drawn: at least 1 x 1, at most :data:`MOST`."""
    return min(max(width, 1), MOST[0]), min(max(height, 1), MOST[1])


class ServedDriver(WebDriver):
    """Textual's driver for pipes. The explorer ends when the server ends, for any reason."""

    def __init__(
        self,
        app: App[Any],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        if self._size is not None:
            self._size = bounded(*self._size)

    def on_meta(self, packet_type: str, payload: dict[str, object]) -> None:
        """Handle what the server tells; a size is bounded, and ignored if it is not of numbers."""
        if packet_type == "resize":
            width, height = payload.get("width"), payload.get("height")
            if not isinstance(width, int) or not isinstance(height, int):
                return
            width, height = bounded(width, height)
            payload = {**payload, "width": width, "height": height}
        super().on_meta(packet_type, payload)

    def run_input_thread(self) -> None:
        """Read what the server sends. The end of the input means that the server is gone."""
        super().run_input_thread()
        self._app.post_message(ExitApp())
