"""The history, the user and the held-out item are one state for undo."""

from __future__ import annotations

from pathlib import Path

from miracle_core.recommender import Recommender
from tests.support.runs import GLOVES
from tests.tui.support import Driver, explorer
from tui.history import Entry


async def test_undo_carries_history_user_and_held_out_item_together(small_run: Path) -> None:
    model = Recommender.load(small_run)

    def check(driver: Driver, user: int | None, *, edited: bool = False) -> None:
        exploration = driver.exploration
        assert (exploration.user is None) == (user is None)
        if user is None:
            assert exploration.target is None and "★" not in driver.text
            assert "History 1 item" in driver.text
            return
        history = model.user_history(f"user-{user}", "test")
        assert exploration.user is not None and exploration.user.user_id == f"user-{user}"
        name = f"History user user-{user}" + (", edited" if edited else "")
        assert f"{name} · " in driver.text
        if not edited:
            assert tuple(e.item for e in exploration.history.entries) == history.items
        assert exploration.target == history.held_out
        answer = exploration.answer
        assert answer is not None and answer.target is not None
        assert answer.target.item == history.held_out
        assert sum("★ held out" in line for line in driver.text.splitlines()) == 1

    async with explorer(small_run) as driver:
        await driver.add(GLOVES[0])
        await driver.press("escape")
        for user in (12, 11):
            driver.explore.step_user_to(0, (user,))
            await driver.settle()
            check(driver, user)
        await driver.press("l", "end", "d")
        check(driver, 11, edited=True)
        await driver.press("u")
        check(driver, 11)
        await driver.press("u")
        check(driver, 12)
        assert not driver.exploration.moves, "another user's ranks are not what moved"
        await driver.press("u")
        check(driver, None)
        await driver.press("U", "U", "U")
        check(driver, 11, edited=True)
        await driver.press("x")
        assert driver.exploration.user is None and driver.titles == []
        await driver.press("u", "u")
        check(driver, 11)


async def test_a_user_with_the_same_items_is_another_state(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        for item in Recommender.load(small_run).user_history("user-5", "test").items:
            panel = driver.explore.history_panel
            panel.post_message(panel.Add(item, "", new=False))
            await driver.settle()
        await driver.press("escape")
        typed = driver.titles
        driver.explore.step_user_to(0, (5,))
        await driver.settle()
        assert driver.titles == typed and driver.exploration.user is not None
        await driver.press("u")
        assert driver.titles == typed and driver.exploration.user is None


async def test_what_an_older_answer_says_is_not_said_of_other_items(small_run: Path) -> None:
    async with explorer(small_run) as driver:
        await driver.add(GLOVES[4])
        await driver.add("a new thing")
        exploration = driver.exploration
        assert set(exploration.capsules_of_history()) == {0, 1}
        exploration.history.replace([Entry(7, GLOVES[7]), *exploration.history.entries[1:]])
        assert set(exploration.capsules_of_history()) == {1}
        exploration.history.replace([Entry(None, "another")])
        assert exploration.capsules_of_history() == {}
