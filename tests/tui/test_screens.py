"""The Users, Capsules, Training, Compare and Runs screens."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from textual.widgets import Input

from miracle_core.recommender import NewTitle, Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.records import Metrics
from miracle_core.runs.summary import State, find_runs, summarise
from miracle_core.runs.tensors import load_tensors, save_tensors
from tests.support.runs import GLOVES, SCREWS, tiny_run
from tests.tui.support import explorer
from tui.capsule_text import fault
from tui.comparison import pairs, translate
from tui.history import Entry
from tui.on_disk import Source
from tui.screens.capsules import CapsulesScreen
from tui.screens.choose_run import choices_of
from tui.screens.compare import CompareScreen
from tui.screens.runs import RunsScreen
from tui.screens.training import TrainingScreen, curve_title, curves_of
from tui.screens.users import UsersScreen
from tui.user_filter import chosen_users
from tui.widgets.curve import braille
from tui.widgets.figure6 import Figure6


def record(epoch: int, loss: float, recall: float) -> dict[str, object]:
    return {
        "epoch": epoch,
        "step": epoch * 10,
        "train": {"loss": loss, "recommendation": loss - 1},
        "valid": {"recall@10": recall, "ndcg@10": recall / 2},
        "figures": {"capsules_in_use": 7, "capsules_per_user": 3.1},
        "best": True,
        "seconds": 2.0 * epoch,
    }


@pytest.fixture
def trained(small_run: Path, tmp_path: Path) -> Path:
    """A run with metrics, whose folder a test may write to."""
    run = tmp_path / "trained"
    shutil.copytree(small_run, run)
    write_metrics(run, 3)
    return run


def write_metrics(run: Path, epochs: int) -> None:
    lines = [json.dumps(record(n, 5 - n / 2, 0.1 + n / 100)) for n in range(1, epochs + 1)]
    (run / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))


async def test_users_are_sorted_filtered_opened_and_stepped_through(small_run: Path) -> None:
    table = Recommender.load(small_run).users()
    async with explorer(small_run) as driver:
        await driver.add(GLOVES[0])
        await driver.press("f2")
        screen = driver.on(UsersScreen)
        assert "13 of 13" in driver.text and "user-12" in driver.text
        await driver.press("s")
        lengths = [int(table.lengths[user]) for user in screen._order]
        assert lengths == sorted(table.lengths.tolist(), reverse=True)
        await driver.press("slash")
        await driver.type("items>=3 rank<=20")
        assert screen._order and all(table.lengths[user] >= 3 for user in screen._order)
        assert all(0 < table.ranks[user] <= 20 for user in screen._order)
        order = list(screen._order)
        await driver.press("enter", "enter")
        await driver.until(lambda: driver.exploration.user is not None)
        await driver.settle()
        user = driver.exploration.user
        history = Recommender.load(small_run).user_history(f"user-{order[0]}", "test")
        assert user is not None and user.user_id == f"user-{order[0]}"
        assert tuple(e.item for e in driver.exploration.history.entries) == history.items
        answer = driver.exploration.answer
        assert answer is not None and answer.target is not None
        assert answer.target.rank == table.ranks[order[0]]
        assert "★ held out" in driver.text
        await driver.press("n")
        assert driver.exploration.user is not None
        assert driver.exploration.user.user_id == f"user-{order[1]}"
        await driver.press("p")
        assert driver.exploration.user.user_id == f"user-{order[0]}"
        await driver.press("u", "u", "u")
        assert driver.titles == [GLOVES[0]], "the person's own history isn't lost"


async def test_a_held_out_item_beyond_the_list_stands_below_it(small_run: Path) -> None:
    table = Recommender.load(small_run).users()
    last = int(np.argmax(table.ranks))
    async with explorer(small_run) as driver:
        driver.app.open_user(0, [last])
        await driver.until(lambda: driver.exploration.answer is not None)
        below = driver.exploration.held_out_below
        assert below is not None and below.rank == table.ranks[last] > 10
        rows = driver.explore.recommendations_panel.list
        assert rows.count == 11
        assert driver.explore.recommendations_panel.at(10) == below


def test_filters_and_orders_of_users(small_run: Path) -> None:
    table = Recommender.load(small_run).users()
    ids = [f"user-{n}" for n in range(13)]
    everyone = chosen_users(table, ids, "", "user", down=False)
    assert everyone == list(range(13))
    assert chosen_users(table, ids, "USER-1", "user", down=True) == [12, 11, 10, 1]
    assert chosen_users(table, ids, "items=2", "user", down=False) == [
        u for u in range(13) if table.lengths[u] == 2
    ]
    by_rank = chosen_users(table, ids, "", "rank", down=False)
    ranks = [int(table.ranks[u]) for u in by_rank]
    assert ranks[-2:] == [0, 0] and ranks[:-2] == sorted(ranks[:-2]), "nobody's rank comes last"
    assert chosen_users(table, ids, "rank<1000", "user", down=False) == [
        u for u in range(13) if table.ranks[u]
    ]
    assert chosen_users(table, ids, "nobody", "user", down=False) == []


async def test_capsules_are_told_with_users_and_figure_6(small_run: Path) -> None:
    model = Recommender.load(small_run)
    async with explorer(small_run, size=(140, 30)) as driver:
        await driver.press("f3")
        screen = driver.on(CapsulesScreen)
        assert f"{model.capsule_use().users[0]:.1%}" in driver.text
        assert model.capsules()[0].label[:15] in driver.text
        await driver.press("down")
        assert model.capsules()[1].label in driver.text
        unused = [c for c in model.capsules() if fault(c, model.capsule_use())[0] == "unused"]
        assert ("! unused" in driver.text) == bool(unused)
        await driver.press("g")
        figure = model.activations()
        assert all(user_id in driver.text for user_id in figure.user_ids)
        widget = screen.query_one(Figure6)
        row = [cell if isinstance(cell, str) else cell.plain for cell in widget._row(0)]
        counts = [int(cell) if cell != "·" else 0 for cell in row[2:]]
        assert counts == [int(figure.counts[0, c]) for c in widget._capsules]


def test_faults_of_capsules(small_run: Path) -> None:
    from dataclasses import replace

    capsule = replace(Recommender.load(small_run).capsules()[0], neighbours=((1, 0.5),), share=0.2)
    assert fault(replace(capsule, n_items=3), None) == ("", "")
    assert fault(replace(capsule, neighbours=((4, 0.95),)), None)[0] == "collapsed"
    assert fault(replace(capsule, share=0.6), None)[0] == "takes most"
    assert fault(replace(capsule, n_items=0), None)[0] == "unused"


async def test_a_run_that_is_gone_does_not_show_the_figures_of_the_one_before(
    trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "second"
    shutil.copytree(trained, run)
    async with explorer(trained) as driver:
        await driver.press("f4")
        assert "loss (train)" in driver.text
        await driver.press("f1")
        driver.app.open_run(Source(run))
        await driver.until(lambda: driver.app.model is not None)
        shutil.rmtree(run)
        await driver.press("f4")
        assert "gone or can't be reached; no figures were read before" in driver.text
        assert "loss (train)" not in driver.text


async def test_training_follows_a_run_that_goes_on(trained: Path) -> None:
    async with explorer(trained) as driver:
        await driver.press("f4")
        screen = driver.on(TrainingScreen)
        assert "epoch 3 of at most" in driver.text
        assert "first 4.5 · best 3.5 at 3 · last 3.5" in driver.text
        assert "recall@10 (valid)" in driver.text and "ndcg@10 (valid)" in driver.text
        write_metrics(trained, 5)
        with (trained / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 6, "half a li')
        screen.look()
        await driver.settle()
        assert "epoch 5 of at most" in driver.text and "best 2.5 at 5" in driver.text
        (trained / "result.json").write_text(
            json.dumps({"status": "stopped early", "test": {"recall@10": 0.123456}})
        )
        screen.look()
        await driver.settle()
        assert "stopped early · test recall@10 0.1235" in driver.text
        await driver.press("m")
        assert "loss (train)" not in driver.text
        shutil.rmtree(trained)
        screen.look()
        await driver.settle()
        assert "The run folder is gone" in driver.text


async def test_training_without_a_validation_waits(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.press("f4")
        assert "No validation yet" in driver.text


def test_curves_are_of_the_figures_that_every_record_has() -> None:
    one = {"train": {"loss": 4.0}, "valid": {"recall@10": 0.1, "mrr@10": 0.2}, "figures": {}}
    two = {**one, "train": {"loss": None, "terms": 1.0}, "valid": {"recall@10": 0.3}}
    found = curves_of(Metrics((one, two)), "recall@10")
    assert found == {("valid", "recall@10"): [0.1, 0.3]}
    several = {**one, "figures": {"interests_per_user": 2.5, "used": 3}}
    found = curves_of(Metrics((several,)), "recall@10")
    assert list(found)[:4] == [
        ("train", "loss"),
        ("valid", "recall@10"),
        ("valid", "mrr@10"),
        ("figures", "interests_per_user"),
    ]
    assert curve_title(("figures", "interests_per_user")) == "interests per user"


def test_a_curve_in_braille() -> None:
    assert braille([0.0, 1.0], 1, 1) == ["⠔"] or braille([0.0, 1.0], 1, 1) == ["⣸"]
    rising = braille([0.0, 1.0, 2.0, 3.0], 4, 2)
    assert rising[0].startswith("⠀") and rising[1].endswith("⠀")
    assert braille([1.0, 1.0], 3, 1) == ["⠤⠤⠤"]
    assert len(braille([1.0], 3, 2)) == 2


async def test_two_runs_are_compared_on_one_history(small_run: Path, tmp_path: Path) -> None:
    other = tiny_run(tmp_path / "other", model__capsules=5)
    async with explorer(small_run, here=tmp_path) as driver:
        await driver.add(GLOVES[0])
        await driver.add("something new")
        await driver.press("f5")
        screen = driver.on(CompareScreen)
        assert "Press o to choose another run" in driver.text
        await driver.pilot.press("o")
        await driver.until(lambda: driver.app.screen is not screen)
        await driver.until(lambda: "run" in driver.text and "tiny" in driver.text)
        await driver.pilot.press("enter")
        await driver.until(lambda: screen._right is not None)
        given = driver.exploration.history.given
        left = Recommender.load(small_run).recommend(given, 200)
        right = Recommender.load(other).recommend(given, 200)
        expected = pairs(left, right, 10)
        assert [(p.item_id, p.move) for p in screen._pairs] == [
            (p.item_id, p.move) for p in expected
        ]
        in_both = sum(p.left.rank <= 10 and p.right.rank <= 10 for p in expected)  # type: ignore[union-attr]
        assert f"{in_both} of the top 10 in both" in driver.text
        exported = screen.export_json()
        assert exported["items"][0]["rank_left"] == expected[0].left.rank  # type: ignore[union-attr]
        assert exported["right"] == {
            "run": str(other),
            "model": "miracle",
            "weights": "best",
            "epoch": None,
        }
        await driver.press("f1")
        await driver.add(SCREWS[4])
        await driver.press("f5")
        assert screen._right is not None and len(screen._right.history) == 3
        # A run that fails after another took its place says nothing of the new one's answers.
        good, answers, late = screen.other, screen._right, LateFailure()
        screen.other = late  # type: ignore[assignment]
        screen.compare()
        await driver.until(lambda: late.asked)
        screen.other = good
        late.go_on.set()
        await driver.until(lambda: late.failed)
        await driver.pilot.pause()
        assert screen._right is answers and screen._failure == ""


class LateFailure:
    """A run that is asked, and fails when it is told to."""

    ready = True
    model = None

    def __init__(self) -> None:
        self.asked = self.failed = False
        self.go_on = asyncio.Event()

    async def ask(self, *given: object) -> None:
        """Wait, then fail."""
        self.asked = True
        await self.go_on.wait()
        self.failed = True
        raise RuntimeError("too late")


async def test_two_epochs_of_one_run_are_compared(small_run: Path, tmp_path: Path) -> None:
    run = run_with_two_states(small_run, tmp_path)
    async with explorer(run, here=tmp_path) as driver:
        await driver.add(GLOVES[0])
        await driver.press("f5")
        screen = driver.on(CompareScreen)
        await driver.pilot.press("o")
        await driver.until(lambda: driver.app.screen is not screen)
        await driver.until(lambda: "last epoch (3)" in driver.text)
        assert "recall@10 0.2000" in driver.text, "what the last validation found"
        assert "this run" in driver.text and "best epoch" not in choices_in(driver.text)
        await driver.pilot.press("enter")
        await driver.until(lambda: screen._right is not None)
        given = driver.exploration.history.given
        best = Recommender.load(run, weights="best").recommend(given, 200)
        last = Recommender.load(run, weights="last").recommend(given, 200)
        assert best.items != last.items
        assert screen._left is not None and screen._left.items == best.items
        assert screen._right is not None and screen._right.items == last.items
        assert "trained · best epoch (2) · MIRACLE" in driver.text
        assert "trained · last epoch (3) · MIRACLE" in driver.text
        assert screen.export_json()["right"] == {
            "run": str(run),
            "model": "miracle",
            "weights": "last",
            "epoch": 3,
        }
        await driver.press("question_mark")
        assert "others can't be compared" in " ".join(driver.text.split())


def choices_in(text: str) -> str:
    """The rows of the visible dialog."""
    return text.partition("Compare with")[2].partition("Esc closes")[0]


def test_a_run_offers_the_epochs_that_differ(small_run: Path, tmp_path: Path) -> None:
    run = run_with_two_states(small_run, tmp_path)
    assert summarise(run).states == [State("best", 2, 0.3), State("last", 3, 0.2)]
    assert summarise(small_run).states == [State("best", 0, None)]
    choices = choices_of([summarise(small_run), summarise(run)], run.resolve(), "last")
    assert [(c.here, c.state.weights) for c in choices] == [(True, "best"), (False, "best")]
    write_metrics(run, 3)
    assert summarise(run).states == [State("best", 3, 0.13)], "the last epoch is the best"
    (run / "model.safetensors").unlink()
    assert summarise(run).states == [State("last", 3, 0.13)]
    (run / "checkpoints" / "last" / "state.safetensors").unlink()
    assert not summarise(run).ready


def run_with_two_states(small_run: Path, folder: Path) -> Path:
    """A run whose best epoch is the second of three, with other last weights."""
    run = RunFolder(folder / "trained")
    shutil.copytree(small_run, run.path)
    weights, metadata = load_tensors(run.weights)
    position = json.dumps({"epoch": 3})
    last = {f"model.{name}": tensor * 0.8 for name, tensor in weights.items()}
    save_tensors(run.weights, weights, {**metadata, "epoch": "2"})
    save_tensors(run.state, last, {**metadata, "position": position})
    values = (0.1, 0.3, 0.2)
    lines = [json.dumps(record(n, 5 - n / 2, value)) for n, value in enumerate(values, 1)]
    run.metrics.write_text("".join(line + "\n" for line in lines))
    return run.path


def test_a_history_is_translated_by_id_then_title_then_as_new(small_run: Path) -> None:
    model = Recommender.load(small_run)

    class Other:
        """A catalogue that contains one id and one title."""

        def __init__(self, *, new_titles: bool) -> None:
            self.abilities = SimpleNamespace(new_titles=new_titles)

        def item(self, item_id: str) -> int:
            from miracle_core.errors import InputError

            if item_id == "I03":
                return 7
            raise InputError("no such item")

        def match(self, title: str) -> list[object]:
            from miracle_core.recommender.results import Match

            known = title == GLOVES[5]
            return [Match(title, 9 if known else None, None, title, "exact", 1.0)]

    entries = [Entry(3, GLOVES[3]), Entry(5, GLOVES[5]), Entry(6, GLOVES[6]), Entry(None, "new")]
    expected = [7, 9, NewTitle(GLOVES[6]), NewTitle("new")]
    other: Any = Other(new_titles=True)
    assert translate(entries, model, other) == (expected, 0)
    other = Other(new_titles=False)
    assert translate(entries, model, other) == (expected[:2], 2)


async def test_home_lists_runs_and_opens_one(trained: Path) -> None:
    async with explorer(None, here=trained.parent) as driver:
        driver.on(RunsScreen)
        await driver.until(lambda: "trained" in driver.text)
        assert "recall@10 0.1300" in driver.text and "tiny" in driver.text
        await driver.press("enter")
        await driver.until(lambda: driver.app.model is not None)
        await driver.settle()
        assert driver.explore and "trained · MIRACLE · tiny" in driver.text
        await driver.press("f6")
        assert "● trained" in driver.text


async def test_home_without_runs_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    async with explorer(None, here=tmp_path / "empty") as driver:
        assert "No run was found here or below." in driver.text
        assert "miracle train --data DATA --out RUN" in driver.text
        await driver.press("f1")
        assert "No run is open." in driver.text


async def test_a_folder_is_picked_by_its_path(trained: Path, tmp_path: Path) -> None:
    async with explorer(None, here=tmp_path / "elsewhere") as driver:
        await driver.press("o")
        field = driver.app.screen.query_one("#folder", Input)
        field.value = str(tmp_path)
        await driver.press("enter")
        assert "is not a run" in driver.text
        field.value = str(trained)
        await driver.press("enter")
        await driver.until(lambda: driver.app.model is not None)
        await driver.settle()
        assert driver.explore


def test_runs_are_found_once_and_the_recent_first(small_run: Path, tmp_path: Path) -> None:
    import os

    for name, age in (("a", 100), ("deep/er/b", 300)):
        shutil.copytree(small_run, tmp_path / name)
        for file in ("config.toml", "model.safetensors"):
            os.utime(tmp_path / name / file, (age, age))
    (tmp_path / "no-run").mkdir()
    found = find_runs([tmp_path, tmp_path / "a", tmp_path / "missing"])
    assert [run.path.name for run in found] == ["b", "a"]
    assert found[0].dataset == "tiny" and found[0].ready and found[0].best is None
    (tmp_path / "a" / "config.toml").write_text("[")
    (tmp_path / "a" / "data" / "manifest.json").write_text("{")
    assert summarise(tmp_path / "a").dataset == ""
