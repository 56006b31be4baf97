"""The explorer in a real terminal: tmux sends keys and reads the screen."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.text import encode_dataset
from tests.support.demos import small_demo
from tests.support.runs import ENCODER, random_model, tiny_settings, write_run

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
PATIENCE = 60.0


class Terminal:
    """A terminal in its own tmux server."""

    def __init__(self, socket: Path, command: str, folder: Path) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        self._run(
            "new-session",
            "-d",
            "-s",
            "t",
            "-x",
            "140",
            "-y",
            "40",
            "-c",
            str(folder),
            f"{command}; echo exit code $?; cat",
        )

    def _run(self, *words: str) -> str:
        ran = subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True)
        return ran.stdout

    def keys(self, *keys: str) -> None:
        self._run("send-keys", "-t", "t", *keys)

    def type(self, text: str) -> None:
        self._run("send-keys", "-t", "t", "-l", text)

    @property
    def text(self) -> str:
        return self._run("capture-pane", "-p", "-t", "t")

    def until(self, true: Callable[[str], object]) -> str:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            text = self.text
            if true(text):
                return text
            time.sleep(0.1)
        raise AssertionError(f"waited in vain; in the terminal:\n{self.text}")

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained for a few seconds on a generated shop."""
    out = tmp_path_factory.mktemp("demo")
    small_demo(out)
    return next(path.parent for path in out.rglob("model.safetensors"))


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[[Path], Terminal]]:
    opened: list[Terminal] = []

    def start(run: Path) -> Terminal:
        environment = {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "LANG": "C.UTF-8",
        }
        words = [
            "env",
            "-u",
            "COLUMNS",
            "-u",
            "LINES",
            *(f"{name}={value}" for name, value in environment.items()),
        ]
        words += [sys.executable, "-m", "miracle_cli", "tui", str(run)]
        # Socket paths must be short, and test folders have long ones.
        socket = Path("/tmp") / f"miracle-{os.getpid()}-{len(opened)}"
        terminal = Terminal(socket, shlex.join(words), tmp_path)
        opened.append(terminal)
        return terminal

    yield start
    for terminal in opened:
        terminal.close()


def walk(terminal: Terminal, folder: Path, run: Path, typed: str, completion: str) -> None:
    """Start, type, pick, add something new, read the best, export, quit."""
    terminal.until(lambda text: "type a title" in text and f" {run.name} ·" in text)
    terminal.type(typed)
    terminal.until(lambda text: completion in text and "as a new item" in text)
    terminal.keys("Enter")
    terminal.until(lambda text: "History 1 item" in text and "rank 1 · score" in text)
    terminal.type("quite unheard-of thingamajig")
    terminal.until(lambda text: "add “quite unheard-of thingamajig” as a new item" in text)
    terminal.keys("Enter")
    terminal.until(lambda text: "History 2 items" in text)
    terminal.keys("Escape")
    terminal.until(lambda text: "On/off" in text)
    text = terminal.text
    terminal.keys("e")
    terminal.until(lambda text: "Enter writes" in text)
    terminal.keys("Enter")
    file = folder / f"miracle-{run.name}-explore.json"
    terminal.until(lambda _: file.is_file())
    best = json.loads(file.read_text())["items"][0]
    rows = [line for line in text.splitlines() if f"{best['score']:.2f}" in line]
    assert any(best["title"][:12] in row for row in rows), "the screen shows what was exported"
    terminal.keys("C-q")
    terminal.until(lambda text: "exit code 0" in text)


@pytest.fixture(scope="module")
def scientific_run(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's Scientific data set with random weights, since training is not tested here."""
    folder = tmp_path_factory.mktemp("scientific")
    prepare(read("atomic", [real_data / "scientific"]), PrepareSettings(), folder / "data")
    dataset = encode_dataset(folder / "data", ENCODER)
    settings = tiny_settings(data=str(folder / "data"))
    return write_run(folder / "run", dataset, settings, random_model(settings, dataset))


@pytest.mark.real_data
def test_a_run_on_scientific(
    open_terminal: Callable[[Path], Terminal], scientific_run: Path, tmp_path: Path
) -> None:
    walk(open_terminal(scientific_run), tmp_path, scientific_run, "nitrile exam", "Nitrile Exam")


def test_the_demo_run(
    open_terminal: Callable[[Path], Terminal], demo_run: Path, tmp_path: Path
) -> None:
    from miracle_core.recommender import Recommender

    title = Recommender.load(demo_run).title(0)
    walk(open_terminal(demo_run), tmp_path, demo_run, title[:12], title[:30])
    saved = json.loads((tmp_path / "state" / "miracle" / "explorer.json").read_text())
    assert saved["recent"] == [str(demo_run.resolve())]
