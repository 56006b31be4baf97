"""The registry of systems: names, near misses, and its content without importing torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from miracle_cli.main import main
from miracle_core import registry
from miracle_core.config import ModelSettings, flat, make_settings, settings_class
from miracle_core.errors import InputError
from miracle_core.systems.base import System
from miracle_core.tuning.space import check_search
from tests.support import markov


def without_torch(code: str) -> str:
    """Run code in a fresh process that must not import torch, and return its output."""
    code += "\nimport sys; assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_system_is_what_its_line_says() -> None:
    names = [spec.name for spec in registry.systems()]
    assert names == sorted(set(names))
    assert {"miracle", "popularity", "random", "textknn"} <= set(names)
    for spec in registry.systems():
        own = spec.settings_class()
        assert issubclass(own, ModelSettings)
        assert own().kind == spec.name
        settings = make_settings({"model": {"kind": spec.name}})
        assert settings.spec == spec
        assert settings.train.mode == spec.modes[0]
        check_search(spec)
        # Systems that are trained can be tuned.
        assert own.SEARCH or "train" not in spec.stages, spec.name
        for name, among in own.SEARCH.items():
            assert among.holds(flat(settings.model_dump())[name]), (spec.name, name)
        assert issubclass(spec.system_class(), System)
        assert spec.modes and spec.stages and spec.title and spec.paper
        # A system is either fitted in one go or trained by gradients.
        assert ("fit" in spec.stages) != ("train" in spec.stages)


def test_settings_and_summaries_need_no_torch() -> None:
    printed = without_torch(
        "import json\n"
        "from miracle_core import registry\n"
        "from miracle_core.config import make_settings\n"
        "specs = registry.systems()\n"
        "kinds = [make_settings({'model': {'kind': s.name}}).model.kind for s in specs]\n"
        "print(json.dumps([kinds, [s.summary() for s in specs]]))"
    )
    kinds, summaries = json.loads(printed)
    assert kinds == [spec.name for spec in registry.systems()]
    assert summaries == [spec.summary() for spec in registry.systems()]
    assert summaries[kinds.index("miracle")] == {
        "name": "miracle",
        "title": "MIRACLE",
        "paper": registry.system("miracle").paper,
        "needs": ["text"],
        "reads": [],
        "stages": ["pretrain", "train"],
        "modes": ["transductive", "inductive"],
    }
    assert summaries[kinds.index("popularity")]["needs"] == []


def test_the_command_lists_them_without_torch() -> None:
    found = json.loads(
        without_torch("from miracle_cli.main import main\nassert main(['models', '--json']) == 0")
    )
    assert [each["name"] for each in found["systems"]] == [s.name for s in registry.systems()]
    (miracle,) = [each for each in found["systems"] if each["name"] == "miracle"]
    settings = {each["name"]: each for each in miracle["settings"]}
    assert settings["width"]["default"] == registry.system("miracle").settings_class()().width
    assert "kind" not in settings


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mirracle", "did you mean miracle?"),
        ("Popularity", "did you mean popularity?"),
        ("text-knn", "did you mean textknn?"),
        ("zzz", "known: "),
        ("my_module:SPEC", "of your own is known once a Python program has called"),
        ("", "known: "),
        ("miracle_core.systems.simple.constant:Popularity", "known: "),
    ],
)
def test_an_unknown_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        registry.system(name, where="here")
    assert caught.value.what == f"there is no system {name!r}"
    assert caught.value.where == "here"
    assert says in str(caught.value.remedy)


def test_a_system_of_one_s_own_comes_and_goes() -> None:
    registry.register(markov.SPEC)
    try:
        assert registry.system("markov") is markov.SPEC
        assert markov.SPEC in registry.systems()
        assert settings_class("markov")().model.kind == "markov"
    finally:
        registry.unregister("markov")
    with pytest.raises(InputError, match="there is no system 'markov'"):
        registry.system("markov")


def test_models_says_what_each_setting_is(capsys: pytest.CaptureFixture[str]) -> None:
    for spec in registry.systems():
        assert main(["models", spec.name, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["settings"]
        fields = spec.settings_class().model_fields
        assert [each["name"] for each in told] == [name for name in fields if name != "kind"]
        for each in told:
            assert each["about"] and "``" not in each["about"], (spec.name, each)
            assert each["default"] == fields[each["name"]].default
    assert main(["models", "mind"]) == 0
    assert "what it is" in capsys.readouterr().out
