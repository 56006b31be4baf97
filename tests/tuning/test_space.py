"""The settings that a study searches, and names that are not settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from miracle_core import registry
from miracle_core.config import Choice, Uniform, make_settings, nested
from miracle_core.errors import InputError
from miracle_core.systems.sasrec.settings import SASRecSettings
from miracle_core.tuning.space import check_search, first_values, search_space


def test_the_example_of_the_docs() -> None:
    docs = Path(__file__).parents[2] / "docs" / "tune.md"
    (code,) = re.findall(r"```python\n(.*?)```", docs.read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, "docs/tune.md", "exec", dont_inherit=True), found)
    own = found["MarkovSettings"]
    assert own().kind == "markov"
    assert own.SEARCH["model.width"].holds(own().width)
    assert own.SEARCH["train.learning_rate"].words() == "0.0001 to 0.01, log-uniform"


def settings(**changes: Any) -> Any:
    given = {name.replace("__", "."): value for name, value in changes.items()}
    return make_settings(nested({"model.kind": "sasrec", **given}))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(2, 1),
        lambda: Uniform(0, 1, log=True),
        lambda: Choice((1,)),
        lambda: Choice((1, 2, 1)),
        lambda: Choice((1, "two")),
        lambda: Choice((1, True)),
    ],
)
def test_ranges_that_are_none(make: Any) -> None:
    with pytest.raises(ValueError, match=r"there are no numbers|a choice"):
        make()


def test_what_a_range_holds() -> None:
    assert Uniform(1, 2).holds(1.5)
    assert not Uniform(1, 2).holds(2.1)
    assert not Uniform(0, 2).holds(True)
    assert Choice(("a", "b")).holds("a")
    assert not Choice((1, 2)).holds(3)


def test_fixed_settings_are_not_searched() -> None:
    every = search_space(settings())
    assert every.keys() == SASRecSettings.SEARCH.keys()
    some = search_space(settings(model__width=50), ["model.width", "train.epochs"])
    assert some.keys() == every.keys() - {"model.width"}
    assert first_values(settings(model__layers=3), some)["model.layers"] == 3


def test_nothing_to_search() -> None:
    popularity = make_settings({"model": {"kind": "popularity"}})
    with pytest.raises(InputError, match="nothing to search in popularity") as caught:
        search_space(popularity)
    assert "miracle train --model popularity" in str(caught.value.remedy)
    with pytest.raises(InputError, match="but what is fixed"):
        search_space(settings(), SASRecSettings.SEARCH)


def test_a_beginning_outside_a_range() -> None:
    with pytest.raises(InputError, match="begins at 50") as caught:
        search_space(settings(model__width=50))
    assert caught.value.remedy == "fix it: --set model.width=50"


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"model.widht": Choice((8, 16))}, "did you mean model.width?"),
        ({"train.learning_rates": Uniform(0, 1)}, "did you mean train.learning_rate?"),
        ({"model.dropout": Uniform(0.5, 1.5)}, "must be below 1"),
        ({"model.layers": Choice((0, 1))}, "must be at least 1"),
        ({"model.norm": Choice(("pre", "none"))}, "'post' or 'pre'"),
    ],
)
def test_spaces_that_do_not_fit_the_settings(
    search: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SASRecSettings, "SEARCH", search)
    with pytest.raises(InputError) as caught:
        check_search(registry.system("sasrec"))
    assert says in f"{caught.value.what} {caught.value.remedy}"
    assert next(iter(search)) in str(caught.value.where)
