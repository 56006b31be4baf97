"""The Explore screen, from typed titles to reasons."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from threading import Event

import pytest

from miracle_cli.main import main
from miracle_core.errors import InputError
from miracle_core.progress import Progress
from miracle_core.recommender import Recommender
from miracle_core.recommender.results import Recommendation
from tests.support.runs import FILAMENT, GLOVES, MAX_LENGTH, SCREWS, TITLES
from tests.tui.support import explorer
from tui.display import shown
from tui.engine import load_recommender
from tui.on_disk import Source
from tui.screens.help import HelpScreen
from tui.screens.text import TextScreen
from tui.widgets.heatmap import Heatmap
from tui.widgets.rows import Rows


async def test_a_title_typed_and_taken_brings_interests_recommendations_and_reasons(
    small_run: Path,
) -> None:
    async with explorer(small_run) as driver:
        await driver.type("nitrile gl")
        assert "Nitrile Glove Small, Powder Free" in driver.text
        assert "add “nitrile gl” as a new item" in driver.text
        await driver.press("enter")
        assert driver.titles == [TITLES[driver.exploration.history.entries[0].item or 0]]
        answer = driver.exploration.answer
        expected = Recommender.load(small_run).recommend(driver.exploration.history.given, 200)
        assert answer is not None
        assert [item.item for item in answer.items] == [item.item for item in expected.items]
        best = driver.exploration.listed[0]
        assert shown(best.title)[:20] in driver.text
        assert f"rank 1 · score {best.score:.2f}" in driver.text
        assert answer.trace is not None
        assert f"{answer.trace.importance[0]:.2f}" in driver.text
        assert "nearest by text" in driver.text


async def test_down_picks_another_completion_and_the_last_is_a_new_item(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.type("glove")
        second = driver.explore.history_panel._found[1]
        await driver.press("down", "enter")
        assert driver.titles == [TITLES[second]]
        await driver.type("glove")
        await driver.press(*["down"] * 20, "enter")
        assert driver.titles == [TITLES[second], "glove"]
        assert driver.exploration.history.entries[1].item is None
        answer = driver.exploration.answer
        assert answer is not None and answer.history[1].new
        assert "new" in driver.text


async def test_text_that_matches_nothing_is_added_as_new(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.type("zebra crossing")
        await driver.press("enter")
        assert [(e.item, e.title) for e in driver.exploration.history.entries] == [
            (None, "zebra crossing")
        ]
        assert driver.exploration.answer is not None


async def test_enter_before_the_completions_are_there_means_the_typed_text(small_run: Path) -> None:
    waits = Event()

    def load(source: Source, progress: Progress) -> Recommender:
        recommender = load_recommender(source, progress)
        complete = recommender.complete

        def slow(typed: str, limit: int = 8) -> list[int]:
            if typed != "a":
                assert waits.wait(10)
            return complete(typed, limit)

        recommender.complete = slow  # type: ignore[method-assign]
        return recommender

    async with explorer(small_run, load=load) as driver:
        await driver.pilot.press(*"machine", "space", *"screw", "space", *"m3", "space", *"steel")
        await driver.pilot.press("enter")
        waits.set()
        await driver.settle()
        assert driver.titles == ["Machine Screw M3 Steel"]


async def test_pasted_lines_are_added_in_one_step_and_undone_in_one(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        from textual import events

        text = f"{GLOVES[0]}\r\n\n  {FILAMENT[3]} \nsomething unheard of\n"
        driver.explore.history_panel.box.post_message(events.Paste(text))
        await driver.settle()
        await driver.until(lambda: len(driver.titles) == 3)
        assert driver.titles == [GLOVES[0], FILAMENT[3], "something unheard of"]
        assert [e.item is None for e in driver.exploration.history.entries] == [False, False, True]
        await driver.press("ctrl+z")
        assert driver.titles == []
        await driver.press("ctrl+y")
        assert len(driver.titles) == 3


async def test_the_footer_names_the_keys_that_the_box_does_not_take(small_run: Path) -> None:
    async with explorer(small_run) as driver:

        def footer() -> str:
            return driver.text.splitlines()[-1]

        assert "? Help" in footer() and "^z Undo" in footer()
        assert "/ Search" not in footer() and "u Undo" not in footer()
        await driver.type("g")
        assert "? Help" not in footer(), "a question mark is part of the title now"
        await driver.press("backspace")
        assert "? Help" in footer()
        await driver.press("escape")
        assert all(key in footer() for key in ("/ Search", "u Undo", "? Help"))
        await driver.press("slash", "question_mark")
        assert "Esc closes" in driver.text


async def test_a_pasted_line_goes_into_the_box(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        from textual import events

        driver.explore.history_panel.box.post_message(events.Paste("wood"))
        await driver.settle()
        assert driver.explore.history_panel.box.value == "wood"
        assert "Wood Screw Brass" in driver.text


async def test_items_are_moved_deleted_switched_off_and_brought_back(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        for title in (GLOVES[4], FILAMENT[4], SCREWS[4]):
            await driver.add(title)
        await driver.press("escape")
        first = list(driver.titles)
        assert first == [GLOVES[4], FILAMENT[4], SCREWS[4]]
        await driver.press("K")
        assert driver.titles == [GLOVES[4], SCREWS[4], FILAMENT[4]]
        assert driver.explore.history_panel.list.cursor == 1
        await driver.press("J", "up", "up", "d")
        assert driver.titles == [FILAMENT[4], SCREWS[4]]
        await driver.press("space")
        assert [e.on for e in driver.exploration.history.entries] == [False, True]
        answer = driver.exploration.answer
        assert answer is not None and [item.title for item in answer.history] == [SCREWS[4]]
        await driver.press("u", "u", "u", "u")
        assert driver.titles == first
        await driver.press("x")
        assert driver.titles == [] and driver.exploration.answer is None
        await driver.press("u")
        assert driver.titles == first


async def test_all_switched_off_asks_nothing(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.add(GLOVES[4])
        await driver.press("escape", "space")
        assert driver.exploration.answer is None
        assert "Every item is switched off." in driver.text


async def test_v_goes_through_the_views(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.add(GLOVES[4])
        await driver.add(SCREWS[4])
        await driver.press("escape")
        answer = driver.exploration.answer
        assert answer is not None
        trace = answer.trace
        assert trace is not None
        seen = []
        for _ in range(4):
            seen.append(driver.exploration.view)
            heatmap = driver.explore.interests_panel.heatmap
            values = heatmap._values()
            if driver.exploration.view == "routing":
                assert (values == trace.routing).all()
            elif driver.exploration.view == "share":
                assert (values == trace.importance[:, None] * trace.routing).all()
            else:
                columns = [c.capsule for c in answer.capsules]
                assert (values == trace.similarity[:, columns]).all()
            assert f"{values[0, 0]:.2f}" in driver.text
            await driver.press("v")
        assert seen == ["routing", "share", "similarity", "routing"]


async def test_the_heatmap_is_drawn_before_it_hears_of_its_new_size(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.add(GLOVES[4])
        await driver.add(SCREWS[4])
        heatmap = driver.explore.interests_panel.heatmap
        heatmap.columns = heatmap.columns[:3]
        assert len(heatmap._row(0)) == len(heatmap.head_cells(1)) == 3


async def test_f_and_the_heatmap_filter_by_interest(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.add(GLOVES[4])
        await driver.add(SCREWS[4])
        await driver.press("escape", "f")
        answer = driver.exploration.answer
        assert answer is not None
        first = answer.capsules[0].capsule
        assert driver.exploration.capsule == first
        assert {item.capsule for item in driver.exploration.listed} <= {first}
        ranks = [item.rank for item in driver.exploration.listed]
        assert ranks == sorted(ranks)
        for _ in answer.capsules:
            await driver.press("f")
        assert driver.exploration.capsule is None
        await driver.press("i", "enter")
        assert driver.exploration.capsule == first
        await driver.press("enter")
        assert driver.exploration.capsule is None


async def test_k_and_hiding_the_seen(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.add(GLOVES[4])
        await driver.press("escape")
        assert len(driver.exploration.listed) == 10
        await driver.press("plus")
        assert len(driver.exploration.listed) == 20
        await driver.press("minus", "minus")
        assert len(driver.exploration.listed) == 5
        await driver.press("h")
        answer = driver.exploration.answer
        own = driver.exploration.history.entries[0].item
        assert answer is not None and own not in {item.item for item in answer.items}
        assert "seen: leave-out" in driver.text


async def test_a_recommendation_is_added_with_enter_and_moves_are_told(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.add(GLOVES[4])
        before = driver.exploration.answer
        assert before is not None and not driver.exploration.moves
        await driver.press("escape", "r", "down", "enter")
        assert driver.titles == [GLOVES[4], before.items[1].title]
        after = driver.exploration.answer
        assert after is not None
        old = {item.item: item.rank for item in before.items}
        assert driver.exploration.moves == {i.item: old[i.item] - i.rank for i in after.items}
        moved = [i for i in driver.exploration.listed if old[i.item] != i.rank]
        assert moved, "the fixture should reorder something"
        by = old[moved[0].item] - moved[0].rank
        assert (f"▲{by}" if by > 0 else f"▼{-by}") in driver.text


async def test_the_last_of_many_fast_edits_wins_and_typing_goes_on(small_run: Path) -> None:
    asked: list[int] = []
    gate = Event()

    def load(source: Source, progress: Progress) -> Recommender:
        recommender = load_recommender(source, progress)
        recommend = recommender.recommend

        def slow(history: list[int], *rest: object, **named: object) -> Recommendation:
            asked.append(len(history))
            assert gate.wait(10)
            return recommend(history, *rest, **named)  # type: ignore[arg-type]

        recommender.recommend = slow  # type: ignore[method-assign,assignment]
        return recommender

    async with explorer(small_run, load=load) as driver:
        for number in range(5):
            driver.explore.history_panel.post_message(
                driver.explore.history_panel.Add(number, "", new=False)
            )
            await driver.pilot.pause(0.05)
        await driver.pilot.press(*"screw")
        await driver.until(lambda: "Machine Screw M3 Steel" in driver.text)
        assert len(driver.titles) == 5, "edits show before their answers"
        gate.set()
        await driver.settle()
        assert asked[0] == 1 and asked[-1] == 5
        assert len(asked) <= 3, "requests that nobody waits for any more are dropped"
        answer = driver.exploration.answer
        assert answer is not None and len(answer.history) == 5


async def test_a_history_longer_than_the_model_reads(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        panel = driver.explore.history_panel
        for item in range(MAX_LENGTH + 2):
            panel.post_message(panel.Add(item, "", new=False))
            await driver.settle()
        assert f"the newest {MAX_LENGTH} are read" in driver.text
        assert f" 3 {TITLES[2][:6]}" in driver.text, "the heatmap keeps the history's numbers"


async def test_the_command_copied_is_shown(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.press("escape", "c")
        assert not isinstance(driver.app.screen, TextScreen), "there is nothing to copy yet"
        await driver.add(GLOVES[4])
        await driver.add("it's new")
        await driver.press("escape", "h", "c")
        assert isinstance(driver.app.screen, TextScreen)
        expected = (
            f"miracle recommend {small_run} --item=I04 '--title=it'\"'\"'s new' "
            "--top-k 10 --seen leave-out"
        )
        assert driver.app.clipboard == expected
        await driver.press("escape")
        assert driver.explore


async def test_the_command_copied_has_the_rules_and_gives_the_same_list(
    small_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sold out.txt").write_text("I00\nI01\n")
    monkeypatch.chdir(tmp_path)
    opened: list[Source] = []

    def explorer_app(source: Source, **_: object) -> None:
        opened.append(source)
        raise InputError("enough")

    with monkeypatch.context() as started:
        started.setattr("tui.terminal.require_terminal", lambda: None)
        started.setattr("tui.app.ExplorerApp", explorer_app)
        rules = ["--deny", "sold out.txt", "--boost", "1=-0.5", "--quota", "2"]
        main(["tui", str(small_run), *rules])
    (source,) = opened
    monkeypatch.chdir(small_run)  # the copied command works in any folder
    async with explorer(small_run, source=source) as driver:
        await driver.add(GLOVES[4])
        await driver.press("escape", "c")
        listed = [(item.item_id, item.score) for item in driver.exploration.listed]
        words = shlex.split(driver.app.clipboard)
    capsys.readouterr()
    assert main([*words[1:], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["items"]
    assert [item["item_id"] for item in found] == [item_id for item_id, _ in listed]
    assert [item["score"] for item in found] == pytest.approx([score for _, score in listed])
    assert main([*words[1 : -len(source.options)], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] != found, "the rules change nothing here"


async def test_clicks_do_what_keys_do(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        for title in (GLOVES[4], FILAMENT[4]):
            await driver.add(title)
        rows = driver.explore.recommendations_panel.list
        await driver.pilot.click(rows, offset=(20, 3))
        await driver.settle()
        assert rows.cursor == 2
        explained = driver.explore.why_panel.explained
        assert explained is not None and explained.item == driver.exploration.listed[2]
        await driver.pilot.click(rows, offset=(20, 3), times=2)
        await driver.settle()
        assert len(driver.titles) == 3
        heatmap = driver.explore.query_one(Heatmap)
        await driver.pilot.click(heatmap, offset=(heatmap.columns[0].width + 10, 0))
        await driver.settle()
        assert driver.exploration.capsule is not None
        await driver.pilot.click("#top-run")
        await driver.pilot.click("Tab.-here")
        for tab in driver.app.screen.query("Tab"):
            if getattr(tab, "mode", "") == "training":
                await driver.pilot.click(tab)
        await driver.settle()
        assert driver.app.current_mode == "training"


async def test_little_room_folds_panels_and_tab_unfolds_them(small_run: Path) -> None:
    async with explorer(small_run, size=(80, 24)) as driver:
        await driver.add(GLOVES[4])
        screen = driver.explore
        assert not screen.recommendations_panel.folded
        assert screen.interests_panel.folded and screen.why_panel.folded
        assert "▸ Interests" in driver.text and "▸ Why" in driver.text
        await driver.press("escape", "w")
        assert screen.recommendations_panel.folded and not screen.why_panel.folded
        assert "score under each interest" in driver.text
        await driver.press("shift+tab")
        await driver.settle()
        assert not screen.recommendations_panel.folded, "the folded line above was reached"
        await driver.pilot.resize_terminal(140, 40)
        await driver.settle()
        panels = (screen.interests_panel, screen.recommendations_panel, screen.why_panel)
        assert not any(panel.folded for panel in panels)
        await driver.pilot.resize_terminal(40, 10)
        await driver.settle()
        assert "The explorer needs a terminal" in driver.text.replace("\n", " ")


async def test_the_palette_and_help_name_every_key(small_run: Path) -> None:
    async with explorer(small_run, size=(140, 80)) as driver:
        await driver.press("escape", "question_mark")
        text = driver.text
        for words in ("Undo", "On/off", "Next rule for", "Light/dark", "All commands by name"):
            assert words in text, words
        await driver.press("escape")
        await driver.press("ctrl+p")
        await driver.pilot.press(*"seen")
        await driver.until(lambda: "Seen items" in driver.text)
        await driver.pilot.press("down", "enter")
        await driver.until(lambda: driver.exploration.seen)


async def test_a_question_mark_in_the_empty_box_asks_for_help(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.press("question_mark")
        assert isinstance(driver.app.screen, HelpScreen)
        await driver.press("escape")
        await driver.type("m3")
        await driver.press("question_mark")
        assert driver.explore.history_panel.box.value == "m3?"


async def test_rows_draw_only_what_is_seen() -> None:
    from textual.app import App, ComposeResult

    from tui.widgets.rows import Column

    drawn: set[int] = set()

    def cells(place: int) -> list[str]:
        drawn.add(place)
        return [str(place)]

    class Many(App[None]):
        def compose(self) -> ComposeResult:
            yield Rows(Column("number", -1))

    app = Many()
    async with app.run_test(size=(40, 10)) as pilot:
        rows = app.query_one(Rows)
        rows.show(1_000_000, cells)
        rows.focus()
        await pilot.press("end")
        await pilot.pause()
        assert rows.cursor == 999_999 and 999_999 in drawn
        assert len(drawn) < 60
