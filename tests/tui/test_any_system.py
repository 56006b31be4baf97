"""The explorer on systems without capsules or interests, and on a pre-trained run."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from miracle_core.progress import Progress
from miracle_core.recommender import Recommender, Rules
from tests.support.runs import FILAMENT, GLOVES, MAX_LENGTH, SCREWS, TITLES
from tests.support.systems import pretrained, trained
from tests.tui.support import Driver, explorer
from tui.engine import load_recommender
from tui.on_disk import Source
from tui.screens.capsules import CapsulesScreen
from tui.screens.compare import CompareScreen, RunPanel
from tui.screens.pick_folder import PickFolderScreen
from tui.screens.text import TextScreen
from tui.screens.training import TrainingScreen
from tui.screens.users import UsersScreen
from tui.session import Session


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs under their systems' names, ``pretrained``, and the Datasets ``data`` and ``new``."""
    folder = tmp_path_factory.mktemp("systems")
    for kind in ("popularity", "textknn", "itemknn", "mind", "unisrec"):
        trained(folder, kind)
    pretrained(folder)
    return folder


async def add_three(driver: Driver) -> None:
    for title in (GLOVES[4], FILAMENT[4], SCREWS[4]):
        await driver.add(title)
    await driver.press("escape", "r", "down")


def keys(value: Any) -> set[str]:
    """Every key in a JSON document."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set()


@pytest.mark.parametrize("kind", ["popularity", "textknn", "itemknn", "unisrec"])
async def test_a_system_without_interests_shows_its_list_and_no_word_of_them(
    runs: Path, kind: str
) -> None:
    model = Recommender.load(runs / kind)
    async with explorer(runs / kind, size=(140, 80)) as driver:
        await add_three(driver)
        screen = driver.explore
        assert not screen.interests_panel.display
        given = driver.exploration.history.given
        expected = model.recommend(given, 10)
        for own, item in zip(driver.exploration.listed, expected.items, strict=True):
            assert replace(own, contributions=()) == replace(item, contributions=())
            # The explorer asks for more items, so sums may round differently.
            assert own.contributions == pytest.approx(item.contributions, abs=1e-6)
        assert expected.items[1].title[:20] in driver.text
        for key in ("f1", "f2", "f3", "f4", "question_mark"):
            await driver.press(key)
            text = driver.text.replace(f"{model.system.title} has no capsules.", "")
            text = text.replace("This system has no capsules.", "")
            assert not re.search("capsule|interest|figure 6", text, re.IGNORECASE), key
        await driver.press("escape", "f1", "v", "f", "i")
        assert driver.exploration.capsule is None and driver.exploration.view == "routing"
        assert not screen.interests_panel.display and driver.explore


async def test_the_three_panels_share_the_room(runs: Path) -> None:
    async with explorer(runs / "popularity", size=(140, 40)) as driver:
        await add_three(driver)
        screen = driver.explore
        panels = (screen.history_panel, screen.recommendations_panel, screen.why_panel)
        for size in ((140, 40), (200, 50), (80, 60)):
            await driver.pilot.resize_terminal(*size)
            await driver.settle()
            # The panels fill the screen but for the top bar and the footer.
            assert sum(panel.region.area for panel in panels) == size[0] * (size[1] - 2), size
        await driver.pilot.resize_terminal(80, 24)
        await driver.settle()
        assert screen.why_panel.folded and "▸ Why" in driver.text


async def test_popularity_says_what_it_knows_and_nothing_else(runs: Path) -> None:
    async with explorer(runs / "popularity") as driver:
        await add_three(driver)
        answer = driver.exploration.answer
        assert answer is not None
        item = answer.items[1]
        text = driver.text
        assert "Popularity" in text.splitlines()[0] and "fitted state" in text.splitlines()[0]
        assert f"rank 2 · score {item.score:.2f}" in text
        assert "built by" not in text and "nearest" not in text and "its text" in text
        exported = driver.explore.export_json()
        assert exported["seen"] == "as-printed" and json.dumps(exported)
        no_words = {"capsule", "capsules", "scores", "routing", "similarity", "agreement"}
        assert not keys(exported) & no_words
        table = driver.explore.export_table()
        assert table is not None and list(table[0]) == ["rank", "item_id", "title", "score"]


async def test_of_a_text_neighbour_the_winner_is_told(runs: Path) -> None:
    model = Recommender.load(runs / "textknn")
    async with explorer(runs / "textknn") as driver:
        await add_three(driver)
        answer = driver.exploration.answer
        assert answer is not None and "seen: leave-out" in driver.text
        item = answer.items[1]
        parts = item.contributions
        (winner,) = [place for place, part in enumerate(parts) if part]
        assert parts[winner] == pytest.approx(item.score)
        lines = driver.text.splitlines()
        place = next(n for n, line in enumerate(lines) if "built by  adds" in line)
        assert f"{winner + 1} {answer.history[winner].title}" in lines[place + 1]
        assert f"+{item.score:.2f}" in lines[place + 1] and "+0.00" in lines[place + 2]
        near = model.nearest(item.item)[0]
        assert "nearest by text" in driver.text
        assert f"{near.similarity:.2f} {model.title(near.item)[:20]}" in driver.text


async def test_nearest_by_vectors_says_so_and_interests_without_capsules_are_shown(
    runs: Path,
) -> None:
    async with explorer(runs / "mind") as driver:
        await add_three(driver)
        answer = driver.exploration.answer
        assert answer is not None and answer.capsules
        assert "nearest by the system's vectors" in driver.text
        assert driver.explore.interests_panel.display
        assert "score under each interest" in driver.text
        assert "3 Capsules" not in driver.text
        await driver.press("f2")
        assert "interests>=3" in driver.text
        await driver.press("f3")
        assert "MIND has no capsules." in driver.text


async def test_the_held_out_item_has_its_rank_or_is_said_to_be_left_out(runs: Path) -> None:
    run = runs / "textknn"
    table = Recommender.load(run).users()
    left_out = [u for u in range(13) if table.held_out[u] >= 0 and not table.ranks[u]]
    ranked = [u for u in range(13) if table.ranks[u] > 10]
    assert left_out and ranked
    async with explorer(run) as driver:
        driver.app.open_user(0, [ranked[0]])
        await driver.until(lambda: driver.exploration.answer is not None)
        below = driver.exploration.held_out_below
        assert below is not None and below.rank == table.ranks[ranked[0]]
        assert "★ held out" in driver.text
        driver.app.open_user(0, [left_out[0]])
        await driver.until(lambda: driver.exploration.user.user_id == f"user-{left_out[0]}")  # type: ignore[union-attr]
        await driver.settle()
        assert "★ held out, left out with the seen" in driver.text
        assert re.search(r"│ +out ", driver.text)
        driver.explore.recommendations_panel.list.cursor = 10
        await driver.settle()
        assert "no rank: the history holds it" in driver.text
        await driver.press("f2")
        line = next(x for x in driver.text.splitlines() if f"user-{left_out[0]} " in x)
        assert " out " in line
        exported = driver.on(UsersScreen).export_table()
        assert exported is not None and "interests" not in exported[0]
        assert {len(row) for row in exported[1]} == {len(exported[0])}
        await driver.press("s", "s", "s")
        assert driver.on(UsersScreen)._sort == "user", "there is no column of interests to sort by"


async def test_new_titles_are_refused_where_a_system_knows_its_catalogue_only(runs: Path) -> None:
    async with explorer(runs / "popularity") as driver:
        await driver.type("glove")
        assert "as a new item" not in driver.text and "Vinyl Glove Box" in driver.text
        await driver.press(*["down"] * 20, "enter")
        assert len(driver.titles) == 1 and driver.exploration.history.entries[0].item is not None
        await driver.type("zebra crossing")
        await driver.press("enter")
        assert len(driver.titles) == 1
        told = "“zebra crossing” is not in the catalogue. Popularity knows the catalogue's items"
        assert told in driver.told
        assert driver.explore.history_panel.box.value == "zebra crossing", "it can be corrected"
        driver.explore.add_lines([SCREWS[4], "zebra crossing", "unheard of"])
        await driver.settle()
        assert driver.titles[1:] == [SCREWS[4]]
        assert "2 lines are not in the catalogue; “zebra crossing”" in driver.told
        await driver.press("escape", "escape", "t")
        assert "takes no new items" in driver.told


async def test_new_items_of_another_systems_session_do_not_count(
    runs: Path, small_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    async with explorer(run) as driver:
        await driver.add(GLOVES[4])
        await driver.add("zebra crossing")
        shutil.rmtree(run)
        shutil.copytree(runs / "popularity", run)
        # It is the same shop, so the history is kept.
        await driver.press("ctrl+r")
        await driver.until(lambda: "Popularity" in driver.text.splitlines()[0])
        await driver.settle()
        assert driver.titles == [GLOVES[4], "zebra crossing"]
        answer = driver.exploration.answer
        assert answer is not None and len(answer.history) == 1
        assert "! new titles don't count" in driver.text
        assert not driver.explore.interests_panel.display


async def test_the_seen_rules_by_their_names(runs: Path, small_run: Path) -> None:
    for run, rules in (
        (small_run, ["gain", "leave-out", "as-printed", "gain"]),
        (runs / "textknn", ["leave-out", "as-printed", "leave-out"]),
        (runs / "popularity", ["as-printed", "leave-out", "as-printed"]),
    ):
        model = Recommender.load(run)
        async with explorer(run) as driver:
            await driver.add(GLOVES[4])
            await driver.press("escape")
            for rule in rules:
                assert f"seen: {rule}" in driver.text
                expected = model.recommend([4], 200, rule)  # type: ignore[arg-type]
                answer = driver.exploration.answer
                assert answer is not None and answer.items == expected.items
                await driver.press("c")
                assert isinstance(driver.app.screen, TextScreen)
                own = rule == model.seen
                assert driver.app.clipboard.endswith("--top-k 10" if own else f"--seen {rule}")
                await driver.press("escape", "h")


async def test_a_longer_history_of_a_system_that_reads_all_of_it(runs: Path) -> None:
    async with explorer(runs / "itemknn") as driver:
        driver.explore.add_lines(TITLES[: MAX_LENGTH + 4])
        await driver.settle()
        answer = driver.exploration.answer
        assert answer is not None and answer.first == 0
        assert "read" not in driver.explore.history_panel._detail
        assert not driver.exploration.unread()


async def test_the_training_screen_of_a_system_without_epochs(runs: Path) -> None:
    result = json.loads((runs / "popularity" / "result.json").read_text())
    async with explorer(runs / "popularity") as driver:
        await driver.press("f4")
        screen = driver.on(TrainingScreen)
        assert "Popularity learns at once, without epochs · finished · test" in driver.text
        line = next(x for x in driver.text.splitlines() if "ndcg@10" in x and "metric" not in x)
        assert f"{result['valid']['ndcg@10']:.4f}" in line
        assert f"{result['test']['ndcg@10']:.4f}" in line
        assert "More curves" not in driver.text
        assert screen.export_json() == result
    async with explorer(runs / "mind") as driver:
        await driver.press("f4")
        assert "epoch 2 of at most 2" in driver.text and "loss (train)" in driver.text
        assert "interests per user" in driver.text


async def test_miracle_beside_popularity(runs: Path, small_run: Path) -> None:
    async with explorer(small_run, here=runs) as driver:
        await driver.add(GLOVES[4])
        await driver.add("zebra crossing")
        await driver.press("f5")
        screen = driver.on(CompareScreen)
        await driver.pilot.press("o")
        await driver.until(lambda: driver.app.screen is not screen)
        await driver.until(lambda: "Popularity" in driver.text)
        assert "fitted state" in driver.text and "Nearness of text" in driver.text
        await driver.press("escape")
        screen.open_other(Source(runs / "popularity"))
        await driver.until(lambda: screen._right is not None)
        await driver.settle()
        text = " ".join(driver.text.split())
        says = screen.query_one("#right-run", RunPanel)._says
        assert says == (
            "Popularity sees no interests: it has one list. "
            "1 item of the history is new to it and left out."
        )
        assert "best epoch · MIRACLE · seen: gain" in text
        assert "fitted state · Popularity · seen: as-printed" in text
        left = Recommender.load(small_run).recommend(driver.exploration.history.given, 200)
        right = Recommender.load(runs / "popularity").recommend([4], 200)
        assert screen._left is not None and screen._left.items == left.items
        assert screen._right is not None and screen._right.items == right.items
        assert screen.export_json()["right"]["model"] == "popularity"
    async with explorer(runs / "popularity", here=runs) as driver:
        await driver.add(GLOVES[4])
        await driver.press("f5")
        screen = driver.on(CompareScreen)
        screen.open_other(Source(runs / "textknn"))
        await driver.until(lambda: screen._right is not None)
        await driver.settle()
        assert driver.text.count("sees no interests") == 2


async def test_a_pretrained_run_is_explored_over_another_dataset(runs: Path) -> None:
    run, new = runs / "pretrained", runs / "new"
    model = Recommender.load(run, data=new)
    async with explorer(run, data=new, here=runs) as driver:
        assert "pretrained · MIRACLE · new" in driver.text.splitlines()[0]
        await driver.add("screw driver")
        await driver.add("a new thing")
        given = driver.exploration.history.given
        assert driver.exploration.listed == list(model.recommend(given, 10).items)
        await driver.press("f2")
        table = driver.on(UsersScreen)._table
        assert table is not None and table.ranks.tolist() == model.users().ranks.tolist()
        await driver.press("f3")
        assert driver.on(CapsulesScreen) and model.capsules()[0].label[:12] in driver.text
        await driver.press("f4")
        assert "epoch 1 of at most" in driver.text and "capsules in use" in driver.text
        await driver.press("f6")
        assert "tiny, other" in driver.text
        await driver.press("f1", "escape", "c")
        assert f"recommend {run} --data {new} " in driver.app.clipboard
        await driver.press("escape", "ctrl+r")
        assert "Nothing is newer" in driver.told
        await driver.press("f5")
        screen = driver.on(CompareScreen)
        screen.open_other(Source(runs / "popularity"))
        await driver.until(lambda: screen._right is not None)


async def test_changed_data_is_told_and_read_again_on_demand(runs: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    shutil.copytree(runs / "new", new)
    async with explorer(runs / "pretrained", data=new) as driver:
        await driver.add("screw driver")
        manifest = json.loads((new / "manifest.json").read_text())
        (new / "manifest.json").write_text(json.dumps({**manifest, "name": "renamed"}))
        driver.app.look_at_folder()
        await driver.settle()
        assert "The Dataset was changed since it was opened. Ctrl+R loads it." in driver.text
        await driver.press("ctrl+r")
        await driver.until(lambda: "renamed" in driver.text.splitlines()[0])
        shutil.rmtree(new)
        driver.app.look_at_folder()
        await driver.settle()
        assert "The Dataset is gone" in driver.text


async def test_a_pretrained_run_of_the_list_asks_for_a_dataset(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "explorer.json"
    async with explorer(None, here=runs, session=Session.load(file)) as driver:
        await driver.until(lambda: "pretrained" in driver.text)
        driver.app.choose_run(runs / "pretrained")
        await driver.until(lambda: isinstance(driver.app.screen, PickFolderScreen))
        assert "reads any Dataset" in driver.text
        field = driver.app.screen.query_one("#folder", Input)
        field.value = str(runs / "popularity")
        await driver.pilot.press("enter")
        await driver.until(lambda: "manifest.json" in driver.text)  # lines wrap by the path
        field.value = str(runs / "new")
        await driver.pilot.press("enter")
        await driver.until(lambda: driver.app.model is not None)
        await driver.settle()
        await driver.add("screw driver")
        assert driver.app.model is not None and driver.app.model.dataset.name == "new"
    async with explorer(runs / "pretrained", data=runs / "new", session=Session.load(file)) as one:
        assert one.titles == ["Screw Driver Set"]
    other = runs / "shops" / "a"
    async with explorer(runs / "pretrained", data=other, session=Session.load(file)) as driver:
        assert driver.titles == [], "that history was of another Dataset"


async def test_a_pretrained_run_is_compared_over_the_data_of_the_open_run(runs: Path) -> None:
    async with explorer(runs / "textknn", here=runs) as driver:
        await driver.add(GLOVES[4])
        await driver.press("f5")
        screen = driver.on(CompareScreen)
        await driver.pilot.press("o")
        await driver.until(lambda: driver.app.screen is not screen)
        await driver.until(lambda: "tiny, other" in driver.text)
        rows = driver.app.screen.query_one("#choices")
        names = [choice.run.path.name for choice in driver.app.screen._choices]  # type: ignore[attr-defined]
        rows.cursor = names.index("pretrained")  # type: ignore[attr-defined]
        await driver.pilot.press("enter")
        await driver.until(lambda: screen._right is not None)
        model = Recommender.load(runs / "pretrained", data=runs / "textknn" / "data")
        assert screen._right is not None
        assert screen._right.items == model.recommend([4], 200).items


async def test_the_rules_of_a_shop(small_run: Path) -> None:
    """The lists equal the Recommender's with these rules, and the screen names the rules."""
    rules = Rules(deny=("I05",), boost=dict.fromkeys(range(7), 0.25), quota=2)
    model = Recommender.load(small_run, rules=rules)
    load = load_recommender

    def by_rules(source: Source, progress: Progress) -> Recommender:
        return load(replace(source, rules=rules), progress)

    async with explorer(small_run, load=by_rules) as driver:
        await driver.add(GLOVES[4])
        answer = driver.exploration.answer
        assert answer is not None
        assert answer.items == model.recommend([4], 10).items
        assert "I05" not in {item.item_id for item in answer.items}
        assert "rules: deny, boost" in driver.text  # the third rule does not fit
        await driver.press("escape", "r", "down")
        assert re.search(r"boosted by the rules +\+0\.25", driver.text)
