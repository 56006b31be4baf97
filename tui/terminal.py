"""Run the explorer in a terminal, and restore the terminal however the explorer ends."""

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

# How many seconds an orderly end may take after a signal. A terminal that accepts no output can
# block it. After a hang-up there is no terminal left to restore.
GRACE, GRACE_HANG_UP = 5.0, 1.0
_ENDING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)
)


def require_terminal() -> None:
    """Refuse to start without a terminal.

    A process that serves a browser window is accepted: it has pipes and a driver for them.

    Raises:
        InputError: a standard stream is not a terminal; the message names it.
    """
    if is_served():
        return
    # Textual reads standard input and draws on standard error. Standard output is checked too:
    # whoever redirects it to a file expects a result there, and there is none.
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

    A signal that would end the process first ends the explorer, so that the terminal leaves the
    alternate screen and the mouse mode. Then the signal ends the process, as its sender expects.

    Raises:
        Exception: the error that ended the explorer, if there was one.
    """
    received: list[int] = []
    if is_served():
        explorer.driver_class = ServedDriver

    async def until_it_ends() -> None:
        loop = asyncio.get_running_loop()

        def end(number: int) -> None:
            received.append(number)
            for each in _ENDING:
                loop.remove_signal_handler(each)  # a second signal ends the process at once
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
        # Where it can, Textual turns on mouse reports in pixels, but never turns them off.
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, b"\x1b[?1016l")
    if received:
        signal.signal(received[0], signal.SIG_DFL)
        os.kill(os.getpid(), received[0])
    if explorer.failure is not None:
        raise explorer.failure
