"""The state of the terminal after the explorer ends, and where it refuses to start."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terminal import PATIENCE, PseudoTerminal

PROGRAM = [sys.executable, "-m", "miracle_cli", "tui"]
# Mouse reports (four kinds), the alternate screen and the hidden cursor, in order at the start.
MOUSE = (b"\x1b[?1000", b"\x1b[?1003", b"\x1b[?1015", b"\x1b[?1006")
SWITCHED_ON = (*(mode + b"h" for mode in MOUSE), b"\x1b[?1049h", b"\x1b[?25l", b"\x1b[?2004h")
SWITCHED_BACK = (*(mode + b"l" for mode in MOUSE), b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?2004l")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[PseudoTerminal]:
    """A terminal in which the explorer has drawn the list of runs."""
    opened = PseudoTerminal(PROGRAM, tmp_path)
    yield opened
    opened.close()


def session_in(folder: Path) -> Path:
    return folder / "state" / "miracle" / "explorer.json"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_the_terminal_as_it_was(
    terminal: PseudoTerminal, number: signal.Signals, tmp_path: Path
) -> None:
    terminal.read_until(b"No run was found")
    start = terminal.written
    assert all(mode in start for mode in SWITCHED_ON)
    os.kill(terminal.process, number)
    terminal.read_until(None)
    end = terminal.written[len(start) :]
    last_drawn = max(end.rfind(b"m"), 0)
    assert all(end.rfind(mode) > last_drawn for mode in SWITCHED_BACK), end[-500:]
    assert not any(mode in end[last_drawn:] for mode in SWITCHED_ON)
    assert terminal.status() == 128 + number
    assert session_in(tmp_path).is_file()


def test_a_terminal_that_is_closed_ends_the_explorer(
    terminal: PseudoTerminal, tmp_path: Path
) -> None:
    terminal.read_until(b"No run was found")
    terminal.hang_up()
    assert terminal.status() == 128 + signal.SIGHUP
    assert session_in(tmp_path).is_file()


IMPATIENT = """
import tui.terminal as terminal
terminal.GRACE = 0.5
from miracle_cli.main import run
run()
"""


def test_a_signal_ends_it_although_the_terminal_takes_no_output(tmp_path: Path) -> None:
    terminal = PseudoTerminal([sys.executable, "-c", IMPATIENT, "tui"], tmp_path)
    try:
        terminal.read_until(b"No run was found")
        # Nobody reads the terminal, so the output soon fills its buffer.
        for _ in range(100):
            terminal.type(b"\x14")  # Ctrl+T redraws the whole screen in other colours
            time.sleep(0.005)
        os.kill(terminal.process, signal.SIGTERM)
        assert terminal.status() == 128 + signal.SIGTERM
    finally:
        terminal.close()


FAILS = """
import tui.screens.runs as runs
def fails(self):
    raise RuntimeError("[bold]no such luck")
runs.RunsScreen.action_search = fails
from miracle_cli.main import run
run()
"""


def test_a_bug_leaves_the_terminal_as_it_was_and_is_told_without_a_traceback(
    tmp_path: Path,
) -> None:
    words = [sys.executable, "-c", FAILS, "tui"]
    terminal = PseudoTerminal(words, tmp_path)
    try:
        terminal.read_until(b"No run was found")
        terminal.type(b"s")
        terminal.read_until(None)
        told = terminal.written[terminal.written.rfind(b"\x1b[?1049l") :]
        assert b"a bug: RuntimeError: [bold]no such luck" in told and b"--debug" in told
        assert b"Traceback" not in told
        assert terminal.status() == 1
    finally:
        terminal.close()


@pytest.mark.parametrize("redirected", ["stdin", "stdout", "stderr"])
def test_without_a_terminal_it_is_refused_at_once(redirected: str, tmp_path: Path) -> None:
    ours, its = pty.openpty()
    file = tmp_path / "file"
    file.touch()
    try:
        with file.open("r+b") as other:
            streams = {name: other if name == redirected else its for name in STREAMS}
            process = subprocess.Popen(
                PROGRAM,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
                cwd=tmp_path,
                **streams,  # type: ignore[call-overload]
            )
            assert process.wait(PATIENCE) == 2
        told = file.read_text() if redirected == "stderr" else os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(its)
    assert "the explorer needs a terminal" in told and STREAMS[redirected] in told
    assert "--web" in told and "Traceback" not in told and "\x1b" not in told


STREAMS = {"stdin": "standard input", "stdout": "standard output", "stderr": "standard error"}


def test_closed_streams_are_no_terminal_either(tmp_path: Path) -> None:
    script = f"exec {sys.executable} -m miracle_cli tui <&- >&-"
    result = subprocess.run(
        ["sh", "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 2
    assert "standard input and standard output and standard error are not one" in result.stderr
