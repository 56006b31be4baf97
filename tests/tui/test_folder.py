"""Changes of the run folder while it is open: newer weights, another run, or no run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from threading import Event

import pytest
from textual.widgets import Input

from miracle_core.progress import Progress
from miracle_core.recommender import Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.records import Weights, kept_epoch
from miracle_core.runs.summary import find_runs
from miracle_core.runs.tensors import load_tensors, save_tensors
from tests.support.runs import GLOVES, SCREWS, random_model, tiny_run, tiny_settings, tiny_shop
from tests.tui.support import Driver, explorer
from tui.engine import load_recommender
from tui.on_disk import Files, Source, news_of
from tui.screens.runs import RunsScreen
from tui.screens.users import UsersScreen


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """A run at epoch 2 of a training, whose folder a test may change."""
    folder = tmp_path / "shop"
    shutil.copytree(small_run, folder)
    train_on(folder, epoch=2)
    return folder


def train_on(folder: Path, *, epoch: int, seed: int = 3) -> None:
    """Write the weights of another epoch, as a training does."""
    run = RunFolder(folder)
    settings = tiny_settings()
    _, metadata = load_tensors(run.weights)
    model = random_model(settings, run.dataset(), seed)
    save_tensors(run.weights, model.state_dict(), {**metadata, "epoch": str(epoch)})


def train_again(folder: Path, **changes: object) -> None:
    """Replace the whole folder, as ``--overwrite`` does."""
    fresh = tiny_run(folder.with_name("again"), **changes)
    shutil.rmtree(folder)
    fresh.rename(folder)


async def look(driver: Driver) -> None:
    driver.app.look_at_folder()
    await driver.settle()


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("size", "told"), [((140, 40), "best epoch (2)"), ((80, 24), "best 2")])
async def test_the_top_line_says_which_run_and_epoch_answer(
    run: Path, size: tuple[int, int], told: str
) -> None:
    async with explorer(run, size=size) as driver:
        for key in ("f1", "f2", "f3", "f4", "f5", "f6"):
            await driver.press(key)
            first = driver.text.splitlines()[0]
            assert "shop" in first and told in first, key


async def test_newer_weights_are_told_and_loaded_on_demand(run: Path) -> None:
    async with explorer(run) as driver:
        await driver.add(GLOVES[4])
        await driver.add("a new thing")
        old = driver.exploration.answer
        await driver.press("ctrl+r")
        assert "Nothing is newer: the best epoch (2) answers." in driver.told
        await look(driver)
        assert not driver.app.notice
        train_on(run, epoch=5, seed=8)
        await look(driver)
        told = "The best epoch (2) answers. Newer weights are there: best epoch (5). Ctrl+R loads"
        assert told in flat(driver.text)
        assert driver.exploration.answer is old, "nothing is loaded unasked"
        await driver.press("ctrl+r")
        assert "best epoch (5)" in driver.text.splitlines()[0]
        assert "Newer weights" not in driver.text
        answer = driver.exploration.answer
        expected = Recommender.load(run).recommend(driver.exploration.history.given, 200)
        assert answer is not None and old is not None
        assert answer.items == expected.items and answer.items != old.items
        assert not driver.exploration.moves, "no edit led from the one answer to the other"
        await driver.press("escape", "u")
        assert driver.titles == [GLOVES[4]], "undo goes back beyond the loading"


async def test_users_and_capsules_are_those_of_the_weights_that_answer(run: Path) -> None:
    async with explorer(run) as driver:
        for key in ("f2", "f3"):
            await driver.press(key)
        train_on(run, epoch=5, seed=8)
        await driver.press("ctrl+r")
        model = Recommender.load(run)
        assert model.capsules()[0].label[:15] in driver.text
        await driver.press("f2")
        table = driver.on(UsersScreen)._table
        assert table is not None
        assert table.ranks.tolist() == model.users().ranks.tolist()


async def test_the_old_weights_answer_until_the_new_ones_can(run: Path) -> None:
    go_on, loads = Event(), []

    def load(source: Source, progress: Progress) -> Recommender:
        loads.append(source.run)
        if len(loads) > 1:
            progress.start("reading the run", None, "")
            assert go_on.wait(10)
        return load_recommender(source, progress)

    async with explorer(run, load=load) as driver:
        train_on(run, epoch=5, seed=8)
        await driver.pilot.press("ctrl+r")
        await driver.until(lambda: "reading the run" in driver.text.splitlines()[0])
        assert "best epoch (2)" in driver.text.splitlines()[0]
        await driver.pilot.press(*"latex", "enter")
        await driver.until(lambda: driver.exploration.answer is not None)
        old = driver.exploration.answer
        go_on.set()
        await driver.until(lambda: "best epoch (5)" in driver.text.splitlines()[0])
        await driver.settle()
        assert driver.exploration.answer is not old and driver.titles == [GLOVES[4]]


async def test_weights_that_cannot_be_loaded_leave_the_old_ones(run: Path) -> None:
    async with explorer(run) as driver:
        await driver.add(GLOVES[4])
        (run / "model.safetensors").write_bytes(b"half a file")
        await look(driver)
        assert "Newer weights are there: best epoch." in flat(driver.text)
        await driver.press("ctrl+r")
        assert "model.safetensors: can't be read as safetensors" in driver.told
        assert "best epoch (2)" in driver.text.splitlines()[0]
        await driver.add(SCREWS[4])
        answer = driver.exploration.answer
        assert answer is not None and len(answer.history) == 2


async def test_a_run_trained_again_is_told_and_mixed_with_nothing(
    run: Path, tmp_path: Path
) -> None:
    old = Recommender.load(run)
    ranks, ids = old.users().ranks.tolist(), [old.user_id(user) for user in range(old.n_users)]
    async with explorer(run) as driver:
        await driver.add(GLOVES[4])
        train_again(run, model__capsules=5)
        shop = tiny_shop(tmp_path / "more")
        users = shop.users.with_columns(shop.users["user_id"].str.replace("user", "other"))
        users.write_parquet(run / "data" / "users.parquet")
        await driver.press("escape", "2")
        screen = driver.on(UsersScreen)
        assert screen._table is not None and screen._table.ranks.tolist() == ranks
        assert list(screen._ids) == ids and "other-" not in driver.text
        await look(driver)
        told = "The run was trained again or changed since it was opened: its old best epoch (2)"
        assert told in flat(driver.text)
        assert "Ctrl+R loads the new run." in flat(driver.text)
        train_again(run, model__capsules=5)
        await driver.press("ctrl+r", "3")
        assert driver.app.model is not None and driver.app.model.n_capsules == 5
        assert driver.app.notice == ""
        await driver.press("1")
        assert driver.titles == [GLOVES[4]] and driver.exploration.answer is not None


async def test_another_catalogue_takes_the_history_over_by_ids(run: Path, tmp_path: Path) -> None:
    from tests.support.runs import other_shop, write_run

    async with explorer(run) as driver:
        await driver.add(GLOVES[0])
        await driver.add(SCREWS[4])
        item_id = f"I{driver.exploration.history.entries[1].item:02}"
        shutil.rmtree(run)
        dataset = other_shop(tmp_path / "other")
        settings = tiny_settings(data=str(tmp_path / "other"))
        model = random_model(settings, dataset)
        write_run(run, dataset, settings, model)
        await driver.type("machine")
        await driver.press("ctrl+r")
        loaded = Recommender.load(run)
        assert driver.app.model is not None and driver.app.model.n_items == 20
        assert [e.item for e in driver.exploration.history.entries] == [loaded.item(item_id)]
        assert "1 items of the last session are no longer" in driver.told
        found = driver.explore.history_panel._found
        assert found == loaded.complete("machine"), "completions are the new catalogue's"


async def test_a_run_without_weights_yet_is_told_and_loaded_when_it_has_some(run: Path) -> None:
    async with explorer(run) as driver:
        weights = run / "model.safetensors"
        kept = weights.read_bytes()
        train_again(run)
        weights.unlink()
        await look(driver)
        assert "The new run has no weights yet." in flat(driver.text)
        await driver.press("ctrl+r")
        assert "The new run has no weights yet." in driver.told
    async with explorer(run) as driver:
        assert "has no weights yet" in driver.text and "Ctrl+R tries again" in driver.text
        weights.write_bytes(kept)
        await driver.press("ctrl+r")
        await driver.until(lambda: driver.app.model is not None)


async def test_every_screen_survives_a_run_that_is_removed(run: Path) -> None:
    async with explorer(run) as driver:
        await driver.add(GLOVES[4])
        shutil.rmtree(run)
        await look(driver)
        assert "The run folder is gone" in driver.text and "best epoch (2)" in driver.text
        for key in ("f2", "f3", "f4", "f5", "f6", "f1"):
            await driver.press(key)
        await driver.press("f2")
        assert "13 of 13" in driver.text and "user-12" in driver.text
        await driver.press("enter")
        await driver.until(lambda: driver.exploration.user is not None)
        await driver.press("ctrl+r")
        assert "can't be opened again" in driver.told
        await driver.press("f1")
        await driver.add("a new thing")
        assert driver.exploration.answer is not None


async def test_a_folder_without_runs_is_not_a_gone_run(run: Path, tmp_path: Path) -> None:
    go_on = Event()

    def load(source: Source, progress: Progress) -> Recommender:
        assert go_on.wait(10)
        return load_recommender(source, progress)

    from tui.app import ExplorerApp

    app = ExplorerApp(Source(tmp_path), load=load, here=Path("/nowhere"))
    async with app.run_test(size=(140, 40), notifications=True) as pilot:
        driver = Driver(app, pilot)
        app.look_at_folder()
        await driver.until(lambda: "Loading" in driver.text)
        assert not app.notice, "it isn't known yet whether it is a run"
        go_on.set()
        await driver.until(lambda: app.load_error is not None)
        await look(driver)
        assert not app.notice and "is gone" not in driver.text
        assert "is not a run folder" in driver.text
        await driver.press("f6")
        await driver.until(lambda: "shop" in driver.text)


async def test_a_run_replaced_while_it_is_read_is_refused(run: Path) -> None:
    def load(source: Source, progress: Progress) -> Recommender:
        recommender = load_recommender(source, progress)
        os.utime(source.run / "config.toml", ns=(5, 5))
        return recommender

    async with explorer(run, load=load) as driver:
        assert "was replaced while it was being read" in str(driver.app.load_error)
        assert "was replaced while" in driver.text and "load it again: Ctrl+R" in driver.text
        assert driver.app.model is None


def test_what_is_newer(run: Path) -> None:
    source, last = Source(run), Source(run, weights="last")

    def news(loaded: Files, which: Weights, asked: Source = source) -> str:
        return news_of(asked, loaded, "state loaded", which).text

    loaded = Files.of(source)
    assert news(loaded, "best") == ""
    state = RunFolder(run).state
    weights, metadata = load_tensors(run / "model.safetensors")
    save_tensors(state, weights, {**metadata, "position": json.dumps({"epoch": 7})})
    assert kept_epoch(run, "last") == 7 and kept_epoch(run, "best") == 2
    assert not news(loaded, "best"), "the best is still the best"
    assert "last epoch (7)" in news(loaded, "last", last)
    (run / "model.safetensors").unlink()
    without = Files.of(source)
    assert not news(without, "last")
    train_on_from(run, weights, metadata)
    assert "best epoch (9)" in news(without, "last")
    assert not news(without, "last", last)


def train_on_from(run: Path, weights: dict[str, object], metadata: dict[str, str]) -> None:
    save_tensors(run / "model.safetensors", weights, {**metadata, "epoch": "9"})  # type: ignore[arg-type]


async def test_folders_that_cannot_be_looked_at_are_no_runs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    stat = os.stat

    def refusing(path: object, *rest: object, **named: object) -> os.stat_result:
        if str(path).startswith(f"{closed}{os.sep}"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", refusing)
    (tmp_path / "round").symlink_to(tmp_path / "round")
    places = [tmp_path, closed, tmp_path / ("x" * 300), tmp_path / "round", tmp_path / "a\0b"]
    assert [found.path for found in find_runs(places)] == [run]
    async with explorer(None, here=tmp_path) as driver:
        driver.on(RunsScreen)
        await driver.until(lambda: "shop" in driver.text)
        for typed in ("x" * 300, "~nobody-of-that-name/run", "a\0b", str(closed / "run")):
            await driver.press("o")
            field = driver.app.screen.query_one("#folder", Input)
            field.value = typed
            await driver.press("enter")
            assert "is not a folder" in driver.text
            await driver.press("escape")
        for typed in ("x" * 300, "a\0b"):
            await driver.press("e")
            field = driver.app.screen.query_one("#file", Input)
            field.value = f"{typed}/x.json"
            field.focus()
            await driver.press("enter")
            assert "Can't be written" in driver.text
            await driver.press("escape")
