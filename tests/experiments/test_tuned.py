"""Experiment rows with the settings that ``miracle tune`` found."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from miracle_cli.main import main
from miracle_core.config import flat
from miracle_core.errors import InputError
from miracle_core.experiments.definition import read_experiment
from miracle_core.experiments.making import make_plan
from miracle_core.experiments.plan import Plan
from miracle_core.tuning.records import read_trials
from tests.support.experiments import TINY, demo_shops, tiny
from tests.tuning.jobs import pretend, search


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shops, and a study of SASRec on one of them, whose trials are not really trained."""
    folder = tmp_path_factory.mktemp("tuned")
    demo_shops(folder, "workshop", "kitchen")
    search(folder / "workshop", folder / "studies" / "sasrec", 5, train=pretend)
    return folder


def plan_of(made: Path, tmp_path: Path, shop: str = "workshop", **more: Any) -> Plan:
    path = tiny(tmp_path, more.pop("text", TINY))
    more = {"tuned": made / "studies", **more}
    return make_plan(read_experiment(str(path)), [made / shop], **more)


def best_of(made: Path) -> dict[str, Any]:
    table = read_trials(made / "studies" / "sasrec")
    row = table.loc[pd.to_numeric(table["value"]).idxmax()]
    return {name: row[name] for name in table.columns if "." in name}


def test_the_best_trial_is_every_run_of_the_row(made: Path, tmp_path: Path) -> None:
    plan, without = plan_of(made, tmp_path), plan_of(made, tmp_path, tuned=None)
    best = best_of(made)
    assert len(best) > 2
    for run, default in zip(plan.runs, without.runs, strict=True):
        own, other = flat(run.settings.model_dump()), flat(default.settings.model_dump())
        changed = {name for name in own if own[name] != other[name]}
        if run.system == "SASRec":
            assert {name: own[name] for name in best} == best
            # The study fixed these at values other than the defaults.
            held = {"train.batch_size", "model.inner"}
            assert [own[name] for name in held] == [8, 8]
            assert changed <= best.keys() | held
        else:
            assert not changed
    assert plan.tuned == {"SASRec": 5}
    assert plan.notes[-1] == "no study of GRU4Rec: they have the experiment's settings"


def test_three_files_of_a_study_are_enough_and_name_no_place(made: Path, tmp_path: Path) -> None:
    kept = tmp_path / "studies" / "sasrec"
    kept.mkdir(parents=True)
    for name in ("study.json", "trials.csv", "best.toml"):
        shutil.copyfile(made / "studies" / "sasrec" / name, kept / name)
        assert str(made) not in (kept / name).read_text()
    whole, alone = plan_of(made, tmp_path), plan_of(made, tmp_path, tuned=kept.parent)
    assert alone.runs == whole.runs
    assert (alone.tuned, alone.notes) == (whole.tuned, whole.notes)
    page = ["report", str(made / "runs"), "--study", str(kept), "--out", str(tmp_path / "r.html")]
    data = ["--data", str(made / "workshop"), "--model", "popularity"]
    assert main(["train", *data, "--out", str(made / "runs")]) == 0
    assert main(page) == 0


def test_a_rows_own_setting_and_the_command_line_come_first(made: Path, tmp_path: Path) -> None:
    text = TINY.replace('model.kind = "sasrec"', 'model.kind = "sasrec"\nmodel.dropout = 0.11')
    given = {"train": {"learning_rate": 0.0123}}
    plan = plan_of(made, tmp_path, text=text, settings=given)
    for run in plan.runs:
        if run.system == "SASRec":
            assert flat(run.settings.model_dump())["model.dropout"] == 0.11
            assert run.settings.train.learning_rate == 0.0123


def test_how_long_all_train_is_the_experiments(made: Path, tmp_path: Path) -> None:
    """The study's trials had 2 epochs each."""
    plan = plan_of(made, tmp_path, text=TINY.replace("train.epochs = 2", "train.patience = 7"))
    assert {(r.settings.train.epochs, r.settings.train.patience) for r in plan.runs} == {(100, 7)}


def test_a_quick_trial_stays_small(made: Path, tmp_path: Path) -> None:
    quick = plan_of(made, tmp_path, quick=True).runs[0].settings
    assert quick.model.model_dump()["width"] == 16
    assert quick.train.learning_rate == pytest.approx(best_of(made)["train.learning_rate"])


def test_what_a_reader_must_know(made: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    (studies / "sasrec").symlink_to(made / "studies" / "sasrec")
    search(made / "workshop", studies / "again", 3, train=pretend)
    text = TINY.replace("GRU4Rec", "Again").replace("gru4rec", "sasrec")
    notes = plan_of(made, tmp_path, "kitchen", text=text, tuned=studies).notes
    assert any("different numbers of trials (SASRec 5, Again 3)" in note for note in notes)
    assert sum("which is no --data" in note for note in notes) == 2


def test_what_is_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="holds no study of any row") as refused:
        plan_of(made, tmp_path, tuned=made / "kitchen")
    assert "gru4rec" in str(refused.value.remedy)

    studies = tmp_path / "studies"
    search(made / "workshop", studies / "gru4rec", 1, train=pretend)
    with pytest.raises(InputError, match="is a study of sasrec, and the row 'GRU4Rec'"):
        plan_of(made, tmp_path, tuned=studies)

    def stops(settings: Any, folder: Path, resume: bool) -> dict[str, Any]:
        return {"status": "interrupted"}

    (studies / "gru4rec").rename(studies / "sasrec")
    search(made / "workshop", studies / "sasrec", 2, train=stops)
    with pytest.raises(InputError, match="has a trial that has not ended"):
        plan_of(made, tmp_path, tuned=studies)

    args = ["experiment", "table1", "--data", str(made / "workshop"), "--tuned", str(studies)]
    assert main(args) == 2
    assert "table1 trains nothing" in capsys.readouterr().err
