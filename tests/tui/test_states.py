"""What is shown when something is missing, damaged or hostile, or after a restart."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from socket import gethostname
from threading import Event

import pytest
from textual.widgets import Input
from torch import Tensor

from miracle_core.errors import InputError
from miracle_core.progress import Progress
from miracle_core.recommender import Recommender
from tests.support.runs import GLOVES, HOSTILE, TITLES
from tests.tui.support import explorer
from tui.display import bar, chip, fitted, flexible, heat_cell, heat_scale, shape, shown
from tui.engine import load_recommender
from tui.exports import csv_text
from tui.history import Entry, History
from tui.on_disk import Source
from tui.session import Session
from tui.web_access import Access, is_loopback


def test_the_first_paint_waits_for_neither_torch_nor_polars() -> None:
    program = (
        "import sys, tui.app, tui.session;"
        "print(*[m for m in ('torch', 'polars', 'numpy', 'pydantic', 'transformers', 'aiohttp') "
        "if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == []


async def test_while_a_run_loads_the_box_takes_text_and_progress_is_told(small_run: Path) -> None:
    go_on = Event()

    def load(source: Source, progress: Progress) -> Recommender:
        progress.start("capsules of the catalogue", 200, "items")
        progress.advance(50)
        assert go_on.wait(10)
        return load_recommender(source, progress)

    from tui.app import ExplorerApp

    app = ExplorerApp(Source(small_run), load=load, here=Path("/nowhere"))
    async with app.run_test(size=(140, 40), notifications=True) as pilot:
        from tests.tui.support import Driver

        driver = Driver(app, pilot)
        await driver.until(lambda: "capsules of the catalogue 25 %" in driver.text)
        await pilot.press(*"glove")
        assert driver.explore.history_panel.box.value == "glove"
        await pilot.press("enter")
        await driver.until(lambda: "still loading" in driver.told)
        go_on.set()
        await driver.until(lambda: app.model is not None)
        await driver.settle()
        assert "Vinyl Glove Box" in driver.text, "what was typed is completed once it can be"


async def test_a_run_that_cannot_be_opened_says_what_where_and_how_to_fix_it(
    small_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / "model.safetensors").write_bytes(b"no weights")
    async with explorer(run) as driver:
        assert "The run can't be opened" in driver.text
        assert "model.safetensors" in driver.text.replace("\n", "")
        await driver.press("f2")
        assert "The run can't be opened" in driver.text
    async with explorer(tmp_path) as driver:
        assert "is not a run folder" in driver.text and "a run that is in it" in driver.text
    (tmp_path / "empty").mkdir()
    async with explorer(tmp_path / "empty") as driver:
        assert "is not a run folder" in driver.text and "miracle finetune" in driver.text


async def test_without_the_encoder_new_items_do_not_count_until_it_is_installed(
    small_run: Path,
) -> None:
    installed: list[bool] = []

    def load(source: Source, progress: Progress) -> Recommender:
        recommender = load_recommender(source, progress)
        there = recommender._vectors._new_titles.vector

        def missing(title: str) -> Tensor:
            if installed:
                return there(title)
            raise InputError("new titles can't be encoded: no such encoder", remedy="install it")

        recommender._vectors._new_titles.vector = missing  # type: ignore[method-assign]
        return recommender

    async with explorer(small_run, load=load) as driver:
        await driver.add(GLOVES[4])
        await driver.type("never seen")
        await driver.press("enter")
        await driver.until(lambda: driver.exploration.new_titles_fail)
        await driver.settle()
        answer = driver.exploration.answer
        assert answer is not None and [item.title for item in answer.history] == [GLOVES[4]]
        assert "install it" in driver.told
        assert driver.titles == [GLOVES[4], "never seen"], "what was typed stays"
        await driver.add(TITLES[9])
        assert driver.exploration.places == (0, 2)
        await driver.press("escape", "t")
        await driver.until(lambda: driver.told.count("install it") == 2)
        assert driver.exploration.places == (0, 2), "it is still missing"
        assert "t tries again" in driver.text
        installed.append(True)
        await driver.press("t")
        assert driver.exploration.places == (0, 1, 2)
        assert "t tries again" not in driver.text


async def test_a_run_deleted_while_open_is_told_and_goes_on_answering(
    small_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    async with explorer(run) as driver:
        await driver.add(GLOVES[4])
        shutil.rmtree(run)
        driver.app.look_at_folder()
        await driver.settle()
        assert "The run folder is gone" in driver.text
        await driver.add(TITLES[9])
        answer = driver.exploration.answer
        assert answer is not None and len(answer.history) == 2


async def test_the_session_is_kept_and_restored(small_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "state" / "explorer.json"
    async with explorer(small_run, session=Session.load(file)) as driver:
        await driver.add(GLOVES[4])
        await driver.add("a new thing")
        await driver.press("escape", "space", "plus", "v", "h", "ctrl+t")
        kept = driver.exploration
    async with explorer(small_run, session=Session.load(file)) as driver:
        again = driver.exploration
        assert again.history.entries == kept.history.entries
        assert not again.history.entries[1].on
        assert (again.top_k, again.view, again.rule) == (20, "share", "leave-out")
        assert driver.app.theme == "miracle-light"
        assert again.answer is not None, "and it is answered at once"
    saved = json.loads(file.read_text())
    saved["runs"][str(small_run.resolve())]["history"][0]["item_id"] = "gone"
    file.write_text(json.dumps(saved))
    async with explorer(small_run, session=Session.load(file)) as driver:
        assert driver.titles == ["a new thing"]
        assert "no longer in the catalogue" in driver.told


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"recent": 3, "runs": [], "theme": 1}', '{"runs": {"x": 1}, "recent": [2]}'],
)
def test_a_damaged_session_is_a_fresh_start(text: str, tmp_path: Path, small_run: Path) -> None:
    file = tmp_path / "explorer.json"
    file.write_text(text)
    session = Session.load(file)
    assert (session.recent, session.runs, session.theme) == ([], {}, "")
    name = str(small_run.resolve())
    session.runs[name] = {"history": [1, {"item_id": None, "title": 3}], "top_k": 7, "view": "x"}
    exploration, lost = session.restore(Source(small_run), Recommender.load(small_run))
    assert exploration.history.entries == () and lost == 2
    assert (exploration.top_k, exploration.view) == (10, "routing")


async def test_hostile_titles_are_text_on_screen_and_whole_in_exports(
    small_run: Path, tmp_path: Path
) -> None:
    async with explorer(small_run, here=tmp_path) as driver:
        panel = driver.explore.history_panel
        for item in range(len(TITLES) - len(HOSTILE), len(TITLES)):
            panel.post_message(panel.Add(item, "", new=False))
            await driver.settle()
        text = driver.text
        for sign in ("\x1b", "\u202e", "\x07", "\t", "\u00a0"):
            assert sign not in text
        assert "[bold red]Not markup[/bold red]" in text
        assert "[31mEscape [0m bell" in text and "right to left" in text
        assert "打印机" in text and "xxxxxxxx…" in text
        width = {len_cells(line) for line in text.splitlines()}
        assert width == {140}, "no title pushes the frames apart"
        await driver.press("escape", "plus", "plus", "e", "enter")
        exported = json.loads((tmp_path / "miracle-run-explore.json").read_text())
        assert [item["title"] for item in exported["history"]] == HOSTILE
        for number, key in enumerate(("2", "3", "6", "1")):
            await driver.press(key)
            assert "\x1b" not in driver.text and "\u202e" not in driver.text, number


def len_cells(line: str) -> int:
    from rich.cells import cell_len

    return cell_len(line)


async def test_exports_as_json_csv_and_svg_ask_before_they_replace(
    small_run: Path, tmp_path: Path
) -> None:
    async with explorer(small_run, here=tmp_path) as driver:
        await driver.add(GLOVES[4])
        await driver.press("escape", "e", "down", "enter")
        file = tmp_path / "miracle-run-explore.csv"
        rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))
        assert rows[0] == ["rank", "item_id", "title", "score", "capsule"]
        assert [int(row[0]) for row in rows[1:]] == list(range(1, 11))
        await driver.press("e", "down", "down", "enter")
        picture = (tmp_path / "miracle-run-explore.svg").read_text()
        assert picture.startswith("<svg") and "url(http" not in picture
        file.write_text("mine")
        await driver.press("e", "down", "enter")
        assert "is there already" in driver.text and file.read_text() == "mine"
        await driver.press("enter")
        assert file.read_text() != "mine"
        await driver.press("e")
        field = driver.app.screen.query_one("#file", Input)
        field.value = "somewhere.txt"
        field.focus()
        await driver.press("enter")
        assert "has to end in one of" in driver.text
        field.value = "no/such\0folder.json"
        await driver.press("escape")
        for screen in ("2", "3"):
            await driver.press(screen, "e", "enter")
        users = json.loads((tmp_path / "miracle-run-users.json").read_text())
        assert len(users) == 13
        capsules = json.loads((tmp_path / "miracle-run-capsules.json").read_text())
        assert [c["capsule"] for c in capsules] == list(range(7))


def test_a_spreadsheet_runs_nothing() -> None:
    text = csv_text((("a", "b"), [("=1+1", -3), ("@x", "plain"), ('quo"te', None)]))
    assert text == 'a,b\r\n\'=1+1,-3\r\n\'@x,plain\r\n"quo""te",\r\n'


async def test_without_colours_shades_and_shapes_tell(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with explorer(small_run) as driver:
        await driver.add(GLOVES[4])
        assert "█" in driver.text and "░░▒▒▓▓██" in driver.text
        capsule = driver.exploration.listed[0].capsule
        assert f"{shape(capsule)} {capsule}" in driver.text


def test_shown_keeps_words_and_drops_tricks() -> None:
    assert shown("a\x1b[31mb\n\tc") == "a [31mb c"
    assert shown("x\u202e\u200b\ufeffy\u2066z") == "xyz"
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert shown(persian) == persian, "a joiner between letters shapes them"
    assert shown("👩\u200d🔬\ufe0f") == "👩🔬"
    assert shown("a" + "\u0301" * 50) == "a" + "\u0301" * 4
    assert shown("\ud800\U000f0000ok") == "ok"
    assert shown("y" * 10_000) == "y" * 399 + "…"
    assert shown(" " * 10_000 + "z", 5) == "…"


def test_lines_are_as_wide_as_they_should_be() -> None:
    for text in ("打印机打印机", "abc", "é" * 20, "👩🔬👩🔬"):
        for width in range(12):
            assert fitted(text, width).cell_len == width
    assert fitted("7", 4, right=True).plain == "   7"
    assert fitted(chip(3), 8).cell_len == 8
    assert flexible([10, -1, -2, 5], 45) == [10, 10, 20, 5]
    assert flexible([10, 5], 45) == [10, 5]
    assert sum(flexible([-1, -1, -1], 100)) == 100


def test_marks_and_scales() -> None:
    marks = {(chip(c).plain.split()[0], str(chip(c).style)) for c in range(64)}
    assert len(marks) == 64, "colour and shape together tell capsules apart"
    assert heat_cell("0.50", 0.5, 10, colours=True).cell_len == 10
    assert heat_cell("0.00", 0.0, 10, colours=False).plain == "0.00      "
    assert heat_cell("1.00", 1.0, 10, colours=False).plain == "1.00 ████ "
    assert heat_cell("9", float("inf"), 6, colours=True).cell_len == 6
    assert heat_scale("0", "1", colours=False).plain == "0   ░░▒▒▓▓██ 1"
    assert [bar(share, 4) for share in (0, 0.001, 0.5, 1, 7)] == ["", "▏", "██", "████", "████"]


def test_edits_are_undone_and_redone() -> None:
    a, b, c = (Entry(n, str(n)) for n in range(3))
    history = History([a])
    assert not history.undo() and not history.redo()
    history.add(b, c)
    assert history.move(0, 5) == 2 and history.entries == (b, c, a)
    history.toggle(1)
    assert history.on == [0, 2] and history.given == [1, 0]
    history.remove(9)
    history.remove(0)
    assert history.undo() and history.undo() and history.entries == (b, c, a)
    assert history.redo() and not history.entries[1].on
    history.add()
    assert history.redo(), "adding nothing is no edit"
    history.replace([a])
    assert not history.redo()


def test_only_its_own_page_controls_the_explorer() -> None:
    here, everywhere = Access("127.0.0.1", 8000), Access("0.0.0.0", 8000)
    for name in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LOCALHOST:8000"):
        assert here.known_name(name) and everywhere.known_name(name), name
    for name in ("", "evil.example:8000", "localhost.evil.example:8000", "a@localhost:8000"):
        assert not here.known_name(name) and not everywhere.known_name(name), name
    for name in ("[::1:8000", "localhost:port", "localhost:8000/x", "localhost:8000?x", "[x]:1"):
        assert not here.known_name(name) and not everywhere.known_name(name), name
    assert not here.known_name("127.0.0.1:9000") and not here.known_name("192.0.2.7:8000")
    assert everywhere.known_name("192.0.2.7:8000") and everywhere.known_name(gethostname())
    assert Access("box.lan", 80).known_name("box.lan") and Access("::", 1).known_name("[::2]:1")
    assert here.known_token(here.token) and len(here.token) == 48
    for wrong in (None, "", here.token[:-1], here.token + "0", everywhere.token, "é\ud800"):
        assert not here.known_token(wrong)
    assert here.token not in repr(here)
    assert Access("::1", 8000).addresses[0].startswith("http://[::1]:8000/?token=")
    assert [a.partition("?")[0] for a in everywhere.addresses] == [
        f"http://{gethostname()}:8000/",
        "http://127.0.0.1:8000/",
    ]
    assert [is_loopback(h) for h in ("localhost", "127.0.0.9", "::1", "0.0.0.0", "box")] == [
        True,
        True,
        True,
        False,
        False,
    ]


async def test_a_hostile_folder_name_is_text_in_the_palette(small_run: Path) -> None:
    session = Session(None, recent=["/runs/[bold]it[nope]\x1b[31m"])
    async with explorer(small_run, session=session) as driver:
        await driver.press("escape", "ctrl+p")
        await driver.pilot.press(*"open")
        await driver.until(lambda: "Open [bold]it[nope] [31m" in driver.text)
        assert "\x1b" not in driver.text
