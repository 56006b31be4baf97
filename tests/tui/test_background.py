"""Errors in background work become messages, and the explorer continues."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tui
from miracle_core.errors import InputError
from miracle_core.progress import Progress
from miracle_core.recommender import Recommender
from tests.support.runs import GLOVES, SCREWS
from tests.tui.support import explorer
from tui.engine import load_recommender
from tui.on_disk import Source


@pytest.mark.parametrize(
    "error",
    [
        InputError("no such luck", where="a file"),
        FileNotFoundError(2, "No such file or directory", "/run/users.parquet"),
        KeyError("item_id"),
        RuntimeError("[bold]no such luck"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_every_error_of_work_in_the_background_becomes_a_message(
    small_run: Path, error: Exception
) -> None:
    asked: list[str] = []

    def load(source: Source, progress: Progress) -> Recommender:
        recommender = load_recommender(source, progress)
        for name in ("users", "capsule_use", "activations", "user_history", "match", "nearest"):
            setattr(recommender, name, lambda *_, name=name: fail(name))
        return recommender

    def fail(name: str) -> None:
        asked.append(name)
        raise error

    app_told = error.what if isinstance(error, InputError) else str(error.args[-1])
    async with explorer(small_run, load=load, bugs=True) as driver:
        await driver.press("f2")
        assert app_told in driver.text and app_told in driver.told
        await driver.press("f3")
        assert app_told in driver.told
        await driver.press("f1")
        driver.explore.step_user_to(0, [1])
        driver.explore.add_lines(["one", "two"])
        driver.explore.look_near(0)
        await driver.settle()
        assert {*asked} == {"users", "activations", "user_history", "match", "nearest"}
        await driver.add(GLOVES[4])
        assert driver.exploration.answer is not None, "the rest goes on"


async def test_no_older_answer_stands_beside_a_history_that_has_none(small_run: Path) -> None:
    def load(source: Source, progress: Progress) -> Recommender:
        recommender = load_recommender(source, progress)
        recommend = recommender.recommend

        def fails(history: list[int], *rest: object, **named: object) -> object:
            if len(history) == 2:
                raise RuntimeError("no such luck")
            return recommend(history, *rest, **named)  # type: ignore[arg-type]

        recommender.recommend = fails  # type: ignore[method-assign,assignment]
        return recommender

    async with explorer(small_run, load=load, bugs=True) as driver:
        await driver.add(GLOVES[4])
        assert "rank 1 · score" in driver.text
        await driver.add(SCREWS[4])
        assert driver.exploration.answer is None and driver.exploration.listed == []
        assert "No answer: a bug: RuntimeError: no such luck" in driver.text
        assert "rank 1 · score" not in driver.text
        await driver.press("escape", "u")
        assert driver.exploration.answer is not None and "No answer:" not in driver.text


def test_all_work_is_done_where_errors_become_messages() -> None:
    folder = Path(tui.__file__).parent
    direct = [
        f"{file.relative_to(folder)}:{node.lineno}"
        for file in folder.rglob("*.py")
        if file.name != "background.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.ImportFrom) and any(name.name == "work" for name in node.names))
        or (isinstance(node, ast.Attribute) and node.attr == "run_worker")
    ]
    assert direct == []
