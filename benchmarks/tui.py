"""How fast the explorer answers: first paint, keystroke to completion, edit to redraw.

    python -m benchmarks.tui [--run RUN] [--titles 10000 100000 1000000] [--json]

    first paint   from starting `miracle tui` in a terminal of its own to the first frame in it
    completion    from a key typed into the box to the completions drawn, catalogues of generated
                  titles, through the whole interface
    edit          from an item added to the recommendations, interests and reasons drawn, on RUN, or
                  on a run with random weights in the shape of the paper's Scientific data set

Median, 95th percentile and the slowest. Keys come as a person's do, with the interface at rest
between them. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import pty
import select
import struct
import sys
import tempfile
import termios
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import orjson
import polars as pl
import torch

if not __package__:
    # Run as a file: its folder comes first on the path, and there this file itself is `tui`.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.harness import ROOT, SCIENTIFIC_ITEMS, SCIENTIFIC_TEXT_WIDTH, machine, median
from benchmarks.text import generated_texts
from miracle_core.config import make_settings
from miracle_core.data.dataset import EncoderIdentity
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.progress import Progress
from miracle_core.recommender import Recommender
from miracle_core.recommender.results import Abilities
from miracle_core.recommender.titles import TitleIndex
from miracle_core.registry import system
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import build_system, data_hash, sizes_of
from miracle_core.runs.tensors import save_tensors
from tui.app import ExplorerApp
from tui.engine import load_recommender
from tui.on_disk import Source
from tui.screens.explore import ExploreScreen

STARTS, EDITS = 7, 20
TYPED = ("nitrile glove", "stainless bolt", "digital caliper", "screw 3.5", "sanding disk")
STEP, REST = 0.0005, 0.08


def made_run(folder: Path) -> Path:
    """A run with random weights: what answering costs doesn't depend on what was learned."""
    titles = generated_texts(SCIENTIFIC_ITEMS)
    items = pl.DataFrame(
        {
            "item_id": [f"I{place}" for place in range(len(titles))],
            "title": [title[:80] for title in titles],
            "text": titles,
            "domain": ["made"] * len(titles),
        }
    )
    random = np.random.default_rng(0)
    write_dataset(
        folder / "data",
        name="made",
        items=items,
        user_ids=[f"u{place}" for place in range(1000)],
        sequences=random.integers(0, len(titles), 7000).astype(np.int32),
        offsets=np.arange(0, 7001, 7, dtype=np.int64),
        sources=[],
        settings={},
        counts={},
    )
    width = SCIENTIFIC_TEXT_WIDTH
    identity = EncoderIdentity(name="made", revision="0", pooling="none", max_length=0, width=width)
    vectors = random.standard_normal((len(titles), width)).astype(np.float16)
    dataset = write_features(folder / "data", vectors, identity)
    settings = make_settings({"data": str(folder / "data"), "encoder": "made"})
    torch.manual_seed(0)
    run = RunFolder(folder / "run")
    run.create(settings, dataset, overwrite=False)
    weights = build_system(settings, sizes_of(settings, dataset)).state_dict()
    save_tensors(run.weights, weights, {"data": data_hash(settings, dataset)})
    return run.path


def first_paint(run: Path, state: Path) -> float:
    """Seconds from the start of the program to its first frame."""
    environment = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(state)}
    begun = perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        words = [sys.executable, "-m", "miracle_cli", "tui", str(run)]
        os.execve(sys.executable, words, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    seen = b""
    # The last line of the frame: all above it is drawn.
    while b"palette" not in seen:
        select.select([terminal], [], [], 30)
        seen += os.read(terminal, 1 << 16)
    seconds = perf_counter() - begun
    os.write(terminal, b"\x11")  # Ctrl-Q
    while True:
        try:
            if not os.read(terminal, 1 << 16):
                break
        except OSError:  # the terminal is closed when the program has ended
            break
    os.waitpid(child, 0)
    os.close(terminal)
    return seconds


def catalogue_of(titles: int) -> Recommender:
    """What the box needs of a Recommender, over generated titles."""
    made = [f"{text[:60]} {place}" for place, text in enumerate(generated_texts(titles))]
    index = TitleIndex(made, np.zeros(titles, dtype=np.int64))
    stand_in = SimpleNamespace(
        complete=index.complete,
        capsules=lambda: (),
        title=made.__getitem__,
        max_length=20,
        dataset=SimpleNamespace(name="made"),
        seen="gain",
        weights="best",
        epoch=1,
        n_users=0,
        system=system("miracle"),
        abilities=Abilities(capsules=True, interests=True, new_titles=True, neighbours="text"),
    )
    return cast("Recommender", stand_in)


async def keystrokes(run: Path, titles: int) -> list[float]:
    """Seconds from each key to the completions drawn.

    Args:
        run: the folder that is watched meanwhile; the titles come from elsewhere.
        titles: how many.
    """
    model = await asyncio.to_thread(catalogue_of, titles)
    app = ExplorerApp(Source(run), load=lambda *_: model)
    seconds: list[float] = []
    async with app.run_test(size=(140, 40)) as pilot:
        while app.model is None:
            await asyncio.sleep(STEP)
        await pilot.pause()
        panel = cast("ExploreScreen", app.screen).history_panel
        drawn = 0.0
        show = panel.show_completions

        def noted(*words: Any, **named: Any) -> None:
            nonlocal drawn
            show(*words, **named)
            panel.call_after_refresh(lambda: mark())

        def mark() -> None:
            nonlocal drawn
            drawn = perf_counter()

        panel.show_completions = noted  # type: ignore[method-assign]
        for text in TYPED:
            for character in text:
                drawn, begun = 0.0, perf_counter()
                panel.box.insert_text_at_cursor(character)
                while not drawn:
                    await asyncio.sleep(STEP)
                seconds.append(drawn - begun)
                await asyncio.sleep(REST)
            panel.clear_box()
            await asyncio.sleep(REST)
    return seconds


async def edits(run: Path) -> list[float]:
    """Seconds from each item added to everything drawn."""
    loaded: list[Recommender] = []

    def load(source: Source, progress: Progress) -> Recommender:
        loaded.append(load_recommender(source, progress))
        return loaded[0]

    app = ExplorerApp(Source(run), load=load)
    seconds: list[float] = []
    async with app.run_test(size=(140, 40)) as pilot:
        while app.model is None:
            await asyncio.sleep(STEP)
        await pilot.pause()
        screen = cast("ExploreScreen", app.screen)
        panel = screen.history_panel
        for item in range(EDITS):
            drawn = asyncio.Event()
            begun = perf_counter()
            panel.post_message(panel.Add(item * 7, "", new=False))
            while app.exploration.answer is None or len(app.exploration.places) <= item:
                await asyncio.sleep(STEP)
            screen.call_after_refresh(drawn.set)
            await drawn.wait()
            seconds.append(perf_counter() - begun)
            await asyncio.sleep(REST)
    return seconds


def measure(run: Path | None, titles: list[int]) -> dict[str, Any]:
    """All three."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = made_run(folder) if run is None else run.resolve()
        starts = [first_paint(run, folder / "state") for _ in range(STARTS)]
        redraws = asyncio.run(edits(run))
        typed = {size: asyncio.run(keystrokes(run, size)) for size in titles}
    return {
        "machine": machine(),
        "first_paint_ms": _summary(starts),
        "edit_ms": _summary(redraws),
        "completion_ms": {str(size): _summary(values) for size, values in typed.items()},
    }


def _summary(seconds: list[float]) -> dict[str, float]:
    return {
        "median": round(1e3 * median(seconds), 1),
        "p95": round(1e3 * float(np.percentile(seconds, 95)), 1),
        "slowest": round(1e3 * max(seconds), 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--run", type=Path, help="a run folder; without one, one is made")
    parser.add_argument("--titles", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    found = measure(given.run, given.titles)
    if given.json:
        sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    rows = [("first paint", found["first_paint_ms"]), ("edit to redraw", found["edit_ms"])]
    rows += [
        (f"key to completion, {int(size):,} titles", values)
        for size, values in found["completion_ms"].items()
    ]
    print(found["machine"])
    for label, values in rows:
        print(label.ljust(36), *(f"{name} {value:>6.1f} ms  " for name, value in values.items()))


if __name__ == "__main__":
    main()
