"""Reuse: runs that another experiment has finished are copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from miracle_cli.main import main
from miracle_core.runs.folder import RunFolder
from tests.support.experiments import TINY, command, refused, tiny

Capture = pytest.CaptureFixture[str]

# SASRec under another name and with other settings, and one system of its own.
OTHER = TINY.replace('proposed = ["SASRec"]', "").replace('"SASRec"', '"Attention"')
OTHER = OTHER.replace('"gru4rec"', '"gru4rec"\nmodel.hidden = 6')


def rows(out: Path, system: str) -> list[Any]:
    """A system's figures in the experiment's tables, by column and metric."""
    tables = json.loads((out / "experiment.json").read_text())["tables"]
    return [
        each["metrics"]
        for table in tables
        for each in table["comparison"]["systems"]
        if each["name"] == system
    ]


def test_the_same_runs_are_copied_and_others_are_trained(
    done: Path, shops: Path, tmp_path: Path, capsys: Capture
) -> None:
    tiny(tmp_path, OTHER)
    assert main(command(tmp_path, shops, "--reuse", done / "out")) == 0
    said = capsys.readouterr().err
    # Copied: SASRec's two seeds and popularity, in two columns. GRU4Rec's settings differ.
    assert "6 runs were copied from" in said
    assert said.count("begins ") == 4
    assert "gru4rec" in said.split("begins ")[1]
    assert rows(tmp_path / "out", "Attention") == rows(done / "out", "SASRec") != []
    assert rows(tmp_path / "out", "GRU4Rec") != rows(done / "out", "GRU4Rec")
    assert main(["experiment", "verify", str(tmp_path / "out")]) == 0
    # The paths in the settings also work from the new folder.
    run = RunFolder(tmp_path / "out/runs/workshop/as-printed/attention/seed-2023")
    assert Path(run.settings().data).samefile(shops / "workshop")


def test_other_data_or_seeds_are_not_the_same(
    done: Path, shops: Path, tmp_path: Path, capsys: Capture
) -> None:
    tiny(tmp_path)
    options = ["--seeds", "3", "--reuse", str(done / "out"), "--dry-run", "--json"]
    args = [*command(tmp_path, shops, "--data", shops / "kitchen"), *options]
    assert main(args) == 0
    states = {each["name"]: each["state"] for each in json.loads(capsys.readouterr().out)["runs"]}
    there = {name for name, state in states.items() if state == "elsewhere"}
    assert len(there) == 10
    assert all(name.startswith("workshop/") and "2025" not in name for name in there)
    assert set(states.values()) == {"elsewhere", "missing"}


def test_a_run_that_is_not_done_there_is_not_taken(
    copy: Path, shops: Path, tmp_path: Path, capsys: Capture
) -> None:
    place = "runs/workshop/as-printed/sasrec/seed-2023/users-test-as-printed.parquet"
    (copy / "out" / place).unlink()
    tiny(tmp_path)
    assert main(command(tmp_path, shops, "--reuse", copy / "out")) == 0
    said = capsys.readouterr().err
    assert "9 runs were copied" in said
    assert said.count("begins ") == 1


def test_one_table_before_the_other(
    done: Path, shops: Path, tmp_path: Path, capsys: Capture
) -> None:
    tiny(tmp_path)
    assert main(command(tmp_path, shops, "--column", "as-printed")) == 0
    tables = json.loads((tmp_path / "out/experiment.json").read_text())["tables"]
    assert [table["column"] for table in tables] == ["as printed"]
    assert capsys.readouterr().err.count("begins ") == 5
    assert main(command(tmp_path, shops)) == 0
    for name in ("table.md", "experiment.json"):
        assert (tmp_path / "out" / name).read_text() == (done / "out" / name).read_text()


def test_refusals(shops: Path, tmp_path: Path, capsys: Capture) -> None:
    tiny(tmp_path)
    said = refused(capsys, command(tmp_path, shops, "--reuse", shops))
    assert "is not an experiment's folder" in said
    assert not (tmp_path / "out").exists()
    said = refused(capsys, command(tmp_path, shops, "--column", "printed"))
    assert "has no column 'printed'" in said
    assert "known: as-printed, seen-aware" in said
    said = refused(capsys, ["experiment", "table1", "--data", "d", "--column", "as-printed"])
    assert "trains nothing" in said
