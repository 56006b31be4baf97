"""``miracle compare`` and ``miracle report`` of experiments: rows, claims and omissions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from miracle_cli.main import main
from miracle_core.errors import InputError
from miracle_core.experiments.definition import read_experiment
from miracle_core.experiments.making import make_plan
from miracle_core.experiments.sources import sources_of
from miracle_core.experiments.whole import conduct
from tests.support.experiments import demo_shops, tiny

Capture = pytest.CaptureFixture[str]
# Rows of one system that differ only in where they start; one of them is not trained.
ROWS = """
seeds = 2
primary = "recall@10"
proposed = ["Transferred"]
columns = ["as printed"]
settings = { train.batch_size = 64 }

[[system]]
name = "Nobody taught"
model.kind = "popularity"

[[system]]
name = "Zero-shot"
pretrain = "domains"
finetune = false
model.kind = "miracle"

[[system]]
name = "Transferred"
pretrain = "domains"
model.kind = "miracle"

[[system]]
name = "From scratch"
model.kind = "miracle"
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished experiment on one shop. Treat as read-only."""
    folder = tmp_path_factory.mktemp("rows")
    demo_shops(folder, "workshop", "kitchen")
    definition = read_experiment(str(tiny(folder, ROWS)))
    plan = make_plan(definition, [folder / "workshop"], [folder / "kitchen"], quick=True, seeds=2)
    conduct(plan, folder / "out")
    return folder / "out"


def test_compare_shows_the_experiments_rows(done: Path, capsys: Capture) -> None:
    found = json.loads((done / "experiment.json").read_text())
    for table in found["tables"]:
        column = done / "runs/workshop" / table["column"].replace(" ", "-")
        assert main(["compare", str(column), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        own = table["comparison"]
        for each in (document, own):
            assert [system["name"] for system in each["systems"]] == [
                "Nobody taught", "Zero-shot", "Transferred", "From scratch",
            ]  # fmt: skip
        for name in ("primary", "proposed"):
            assert document[name] == own[name]
        assert [s["metrics"] for s in document["systems"]] == [s["metrics"] for s in own["systems"]]


def test_a_quick_trial_is_called_one_everywhere(
    done: Path, tmp_path: Path, capsys: Capture
) -> None:
    page = tmp_path / "report.html"
    for args in (["report", str(done), "--out", str(page)], ["compare", str(done), "--json"]):
        assert main(args) == 0
        assert "figures mean nothing" in capsys.readouterr().err
    assert "figures mean nothing" in page.read_text()


def test_one_run_and_one_row(done: Path) -> None:
    row = done / "runs/workshop/as-printed/from-scratch"
    assert [s.row for s in sources_of([row]).sources] == ["From scratch"] * 2
    (one,) = sources_of([row / "seed-2023"]).sources
    assert (one.row, one.results.about.seed) == ("From scratch", 2023)


def test_beside_a_run_of_ones_own_no_claim_is_taken_over(done: Path, tmp_path: Path) -> None:
    run = tmp_path / "mine"
    shutil.copytree(done / "runs/workshop/as-printed/from-scratch/seed-2023", run)
    found = sources_of([done / "runs/workshop/as-printed", run])
    assert (found.proposed, found.primary) == ((), None)
    assert (found.sources[-1].row, found.sources[-1].folder) == ("", "mine")
    assert sources_of([done]).proposed == ("Transferred",)


def test_a_row_that_has_not_ended_is_left_out(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    column = out / "runs/workshop/as-printed"
    next((column / "transferred/seed-2024").glob("users-*")).unlink()
    told: list[str] = []
    found = sources_of([column], told=told.append)
    assert {each.row for each in found.sources} == {"Nobody taught", "Zero-shot", "From scratch"}
    assert told == [
        "Transferred on workshop, as printed, is left out: 1 of its 2 runs have not ended"
    ]
    for file in column.glob("*/*/users-*"):
        file.unlink()
    with pytest.raises(InputError, match="no row of the experiment has ended"):
        sources_of([column])


@pytest.mark.parametrize(
    ("place", "more", "told"),
    [
        ("runs/domains", {}, "holds no run of the experiment whose users were ranked"),
        ("runs/workshop/as-printed/zero-shot", {"split": "valid"}, "evaluated as pre-trained on"),
        ("runs/workshop/as-printed/zero-shot", {"seen": "leave-out"}, "evaluated as pre-trained"),
        ("runs/nowhere", {}, "holds no run of the experiment"),
    ],
)
def test_what_is_refused(place: str, more: dict[str, Any], told: str, done: Path) -> None:
    with pytest.raises(InputError, match=told):
        sources_of([done / place], **more)


def test_a_column_that_was_copied_loses_no_row_unsaid(
    done: Path, tmp_path: Path, capsys: Capture
) -> None:
    column = tmp_path / "column"
    shutil.copytree(done / "runs/workshop/as-printed", column)
    assert main(["compare", str(column)]) == 2
    assert "has user results and no run" in capsys.readouterr().err
    assert main(["compare", str(column / "zero-shot")]) == 2
    assert "has user results and no run" in capsys.readouterr().err
