"""Experiments that an older version began, which did not have every setting of today."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import tomli_w

from miracle_cli.main import main
from miracle_core.experiments.definition import read_experiment
from miracle_core.experiments.folder import begin
from miracle_core.experiments.making import make_plan
from tests.support.experiments import TINY, command, refused, texts, tiny

Capture = pytest.CaptureFixture[str]


def before_cooccurrence(out: Path, **kept: object) -> None:
    """Make an experiment's folder one of before there were settings of co-occurrence.

    Args:
        out: the folder.
        kept: settings of co-occurrence that it has all the same.
    """
    plan = json.loads((out / "plan.json").read_text())
    for run in plan["runs"].values():
        own = {k: v for k, v in run["settings"].items() if not k.startswith("cooccurrence.")}
        run["settings"] = own | {f"cooccurrence.{name}": value for name, value in kept.items()}
    (out / "plan.json").write_text(json.dumps(plan))
    for config in out.rglob("config.toml"):
        values = tomllib.loads(config.read_text())
        values.pop("cooccurrence", None)
        config.write_text(tomli_w.dumps(values))


def test_a_folder_grows(copy: Path, shops: Path, capsys: Capture) -> None:
    out = copy / "out"
    whole = texts(out)
    before_cooccurrence(out)
    shutil.rmtree(out / "runs/workshop/seen-aware/sasrec/seed-2024")
    assert main(command(copy, shops)) == 0
    assert "9 of 10 runs are done already" in capsys.readouterr().err
    assert texts(out) == whole
    # The plan is complete now.
    settings = [
        run["settings"] for run in json.loads((out / "plan.json").read_text())["runs"].values()
    ]
    assert {each["cooccurrence.weight"] for each in settings} == {0.0}
    before_cooccurrence(out)
    said = refused(capsys, command(copy, shops, "--set", "cooccurrence.decay=0.7"))
    assert "cooccurrence.decay of the run" in said
    assert "begun with 0.8, and this is 0.7" in said


def test_defaults_depend_on_how_a_run_starts(shops: Path, tmp_path: Path) -> None:
    text = TINY + '[[system]]\nname = "P"\npretrain = "domains"\nmodel.kind = "miracle"\n'
    own = read_experiment(str(tiny(tmp_path, text)))
    plan = make_plan(own, [shops / "workshop"], [shops / "kitchen"])
    begin(plan, tmp_path / "out")
    before_cooccurrence(tmp_path / "out")
    path = tmp_path / "out" / "plan.json"
    kept = json.loads(path.read_text())
    for run in kept["runs"].values():  # settings whose default depends on how a run starts
        if run["kind"] == "pretrain":
            del run["settings"]["train.mode"]
        elif run["needs"]:
            del run["settings"]["train.freeze"]
    path.write_text(json.dumps(kept))
    begin(plan, tmp_path / "out")
    assert json.loads(path.read_text())["runs"] == {r.name: r.definition() for r in plan.runs}


def test_a_setting_that_is_no_longer_there(copy: Path, shops: Path, capsys: Capture) -> None:
    before_cooccurrence(copy / "out", window=5)
    said = refused(capsys, command(copy, shops))
    assert "cooccurrence.window of the run" in said
    assert "begun with 5, and this is nothing" in said


def test_runs_are_copied(copy: Path, shops: Path, tmp_path: Path, capsys: Capture) -> None:
    before_cooccurrence(copy / "out")
    tiny(tmp_path)
    assert main(command(tmp_path, shops, "--reuse", copy / "out")) == 0
    said = capsys.readouterr().err
    assert "10 runs were copied from" in said
    assert "begins " not in said
