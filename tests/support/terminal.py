"""Run a program in a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from pathlib import Path

PATIENCE = 60.0
ROOT = Path(__file__).resolve().parents[2]


class PseudoTerminal:
    """The explorer in a terminal whose every byte is visible; ``path`` is the source folder."""

    def __init__(self, words: list[str], folder: Path, path: Path = ROOT) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(path),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.execve(words[0], words, environment)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.modes = termios.tcgetattr(self._terminal)
        self.written = b""

    def read_until(self, text: bytes | None) -> None:
        """Read until a text appears, or to the end."""
        end = time.monotonic() + PATIENCE
        while text is None or text not in self.written:
            assert time.monotonic() < end, f"waited in vain; written: {self.written[-2000:]!r}"
            if not select.select([self._terminal], [], [], 0.1)[0]:
                continue
            try:
                part = os.read(self._terminal, 1 << 16)
            except OSError:  # on Linux, the end of a terminal raises an error
                part = b""
            if not part:
                assert text is None, f"it ended before {text!r}; written: {self.written[-2000:]!r}"
                return
            self.written += part

    def type(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def hang_up(self) -> None:
        os.close(self._terminal)
        self._terminal = -1

    def status(self) -> int:
        """The exit status as a shell reports it: the exit code, or 128 plus the signal."""
        end = time.monotonic() + PATIENCE
        while True:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                self.process = 0
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            assert time.monotonic() < end, "it does not end"
            time.sleep(0.02)

    def close(self) -> None:
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        if self._terminal >= 0:
            os.close(self._terminal)
