"""The explorer in a terminal: it needs one, and leaves it as it was, whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading

from miracle_core.errors import InputError
from tui.run_app import RunApp
from tui.served import ServedDriver, is_served

# So many seconds an orderly end may take after a signal: a terminal that takes no output holds it
# up. After a hang-up there is no terminal to be left in order.
GRACE, GRACE_HANG_UP = 5.0, 1.0
_ENDING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)
)


def require_terminal() -> None:
    """Refuse to start where there is nobody to see and type.

    The process that serves one window of a browser has pipes, and a driver made for them.

    Raises:
        InputError: naming the streams that are no terminal.
    """
    if is_served():
        return
    # Textual reads the first and draws on the third; whoever sends the second to a file expects
    # a result there, and there is none.
    streams = {
        "standard input": sys.stdin,
        "standard output": sys.stdout,
        "standard error": sys.stderr,
    }
    missing = [name for name, stream in streams.items() if stream is None or not stream.isatty()]
    if missing:
        raise InputError(
            f"the explorer needs a terminal, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not one",
            remedy="run it in a terminal without redirection, or serve it to a browser with --web",
        )


def run(explorer: RunApp) -> None:
    """Run the explorer until it ends.

    A signal that would end the process ends the explorer first, which leaves the alternate screen
    and the mouse mode; then the signal does its work, so that whoever sent it sees that.

    Raises:
        Exception: what ended the explorer, if that was an error.
    """
    received: list[int] = []
    if is_served():
        explorer.driver_class = ServedDriver

    async def until_it_ends() -> None:
        loop = asyncio.get_running_loop()

        def end(number: int) -> None:
            received.append(number)
            for each in _ENDING:
                loop.remove_signal_handler(each)  # a second one ends it at once
            grace = GRACE_HANG_UP if signal.Signals(number).name == "SIGHUP" else GRACE
            last = threading.Timer(grace, os._exit, [128 + number])
            last.daemon = True
            last.start()
            explorer.exit()

        try:
            for number in _ENDING:
                loop.add_signal_handler(number, end, number)
        except NotImplementedError:  # Windows has no such handlers
            pass
        await explorer.run_async()

    asyncio.run(until_it_ends())
    if os.isatty(2):
        # Textual switches mouse reports in pixels on where it can, and leaves them on.
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, b"\x1b[?1016l")
    if received:
        signal.signal(received[0], signal.SIG_DFL)
        os.kill(os.getpid(), received[0])
    if explorer.failure is not None:
        raise explorer.failure
