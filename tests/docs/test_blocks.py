"""Check pages that no test runs in full: the names exist, and the files can be read."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from miracle_core.experiments.definition import read_experiment
from miracle_core.training.recipe import read_recipe
from tests.docs.pages import DOCS, blocks
from tests.support import markov
from tests.support.runs import other_shop, tiny_shop

PAGES = sorted(page.name for page in DOCS.glob("*.md"))
GONE = {"benchmarks/compile.py"}  # the page says that it is gone
OF_OTHERS = {"toolkits.md"}  # pages that name files of other projects
OURS = ("miracle_core", "miracle_cli", "tui")


@pytest.mark.parametrize("page", ["../README.md", *PAGES])
def test_what_a_page_imports_is_there(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text, page)
    for module, names in re.findall(r"^ *from ([\w.]+) import ([\w, ]+)", text, re.MULTILINE):
        if module.partition(".")[0] in OURS:
            held = import_module(module)
            for name in names.replace(" ", "").split(","):
                assert hasattr(held, name) or _is_module(f"{module}.{name}"), f"{module}.{name}"


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_in_full_is_there(page: str) -> None:
    """Check `miracle_core.a.b.name`, `miracle_core/a/b.py` and `tests/a.py` on all pages."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for path in re.findall(
        r"`((?:miracle_core|miracle_cli|tui|tests|docs|benchmarks)/[\w./-]+)`", text
    ):
        if path not in GONE and "NAME" not in path and page not in OF_OTHERS:
            assert (DOCS.parent / path).exists(), path
    for name in re.findall(r"`((?:miracle_core|tui)(?:\.\w+)+)", text):
        held, _, last = name.rpartition(".")
        assert _is_module(name) or _holds(held, last), name


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _holds(held: str, last: str) -> bool:
    """Whether a module, or a class in a module, contains a name."""
    if _is_module(held):
        return hasattr(import_module(held), last)
    module, _, kind = held.rpartition(".")
    return hasattr(getattr(import_module(module), kind, None), last)


def test_the_system_of_the_page_is_the_one_that_tests_train() -> None:
    (code,) = [block.text for block in blocks("systems.md") if block.language == "python"]

    def classes(text: str) -> dict[str, str]:
        return {
            node.name: ast.dump(node)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ClassDef)
        }

    source = Path(markov.__file__).read_text(encoding="utf-8")
    assert classes(code) == classes(source)
    assert set(classes(code)) == {"MarkovSettings", "Markov"}


def test_the_experiment_of_the_page_is_read(tmp_path: Path) -> None:
    (text,) = [block.text for block in blocks("experiments.md") if block.language == "toml"]
    file = tmp_path / "losses.toml"
    file.write_text(text)
    experiment = read_experiment(str(file))
    assert [row.name for row in experiment.system] == ["softmax", "gBCE"]
    assert (experiment.seeds, experiment.columns) == (5, ["as printed"])


def test_the_recipe_of_the_page_is_read(tmp_path: Path) -> None:
    (text,) = [block.text for block in blocks("training.md") if block.language == "toml"]
    tiny_shop(tmp_path / "data/shop")
    other_shop(tmp_path / "data/games", name="games")
    other_shop(tmp_path / "data/office", items=18, name="office")
    (tmp_path / "recipe.toml").write_text(text)
    recipe = read_recipe(tmp_path / "recipe.toml", tmp_path / "run")
    assert [stage.kind for stage in recipe.stages] == ["pretrain", "finetune", "evaluate"]
