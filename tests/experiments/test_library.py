"""Every bundled experiment, shrunken, on small demo shops, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from miracle_cli.main import main
from miracle_core import registry
from miracle_core.experiments import paper
from miracle_core.experiments.definition import library, read_experiment
from tests.support.experiments import demo_shops

Capture = pytest.CaptureFixture[str]
QUICK = ["--quick", "--set", "train.batch_size=512"]
TRAINED = [name for name in library() if read_experiment(name).kind == "runs"]


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of two shops. Treat as read-only."""
    folder = tmp_path_factory.mktemp("shops")
    demo_shops(folder, "workshop", "kitchen")
    return folder


@pytest.mark.parametrize("name", TRAINED)
def test_a_quick_trial(name: str, shops: Path, tmp_path: Path, capsys: Capture) -> None:
    # The tables' pre-trained rows work like the figures', and would take as long again.
    domains = ["--pretrain", shops / "kitchen"] if name.startswith("figure") else []
    options = ["--data", shops / "workshop", *domains, "--out", tmp_path / name]
    code = main(["experiment", name, *map(str, options), *QUICK])
    said = capsys.readouterr()
    assert code == 0, said.err
    found = json.loads((tmp_path / name / "experiment.json").read_text())
    experiment = read_experiment(name)
    assert {row.kind for row in experiment.system} <= {spec.name for spec in registry.systems()}
    expected = [row.name for row in experiment.system if domains or row.pretrain != "domains"]
    assert [table["column"] for table in found["tables"]] == list(experiment.columns)
    for table in found["tables"]:
        systems = table["comparison"]["systems"]
        assert [system["name"] for system in systems] == expected
        for system in systems:
            rule = "as-printed"
            if table["column"] == "seen-aware":
                fitted = "fit" in registry.system(system["model"]).stages
                rule = "leave-out" if fitted else "gain"
            assert (system["seen"], system["trained_seen"]) == (rule, rule)
    if not experiment.capsules:
        assert found["activations"] == []
    looks = list((tmp_path / name).rglob("test_looks.jsonl"))
    assert bool(looks) == (experiment.split == "test")  # figure 4 does not read the test part
    assert main(["experiment", "verify", str(tmp_path / name)]) == 0


def test_figure_6_counts_capsules(shops: Path, tmp_path: Path, capsys: Capture) -> None:
    args = ["--data", str(shops / "workshop"), "--out", str(tmp_path / "f")]
    assert main(["experiment", "figure6", *args, *QUICK]) == 0
    found = json.loads((tmp_path / "f" / "experiment.json").read_text())
    (own,) = found["activations"]
    assert own["system"] == "MIRACLE from scratch"
    assert len(own["user_ids"]) == len(own["counts"]) == 12
    # Every item that the model reads activates exactly one capsule.
    assert [sum(row) for row in own["counts"]] == own["lengths"]
    stored = next((tmp_path / "f").rglob("*miracle*/**/users-test-as-printed.parquet"))
    assert own["mean"] == pytest.approx(pl.read_parquet(stored)["interests"].mean())
    assert list((tmp_path / "f").glob("capsules-*.svg"))
    capsys.readouterr()
    # A mean that differs from the user results is reported.
    own["mean"] += 0.5
    (tmp_path / "f" / "experiment.json").write_text(json.dumps(found))
    assert main(["experiment", "verify", str(tmp_path / "f")]) == 1
    assert "active capsules" in capsys.readouterr().err


def test_table_1_names_what_differs(shops: Path, tmp_path: Path, capsys: Capture) -> None:
    args = ["experiment", "table1", "--data", str(shops / "workshop")]
    assert main(args) == 0
    assert "the paper has no row of this name" in capsys.readouterr().out
    # The same data under the name of a data set in the paper.
    manifest = json.loads((shops / "workshop" / "manifest.json").read_text())
    renamed = tmp_path / "pantry"
    renamed.mkdir()
    for file in (shops / "workshop").iterdir():
        (renamed / file.name).write_bytes(file.read_bytes())
    (renamed / "manifest.json").write_text(json.dumps({**manifest, "name": "Prime_Pantry"}))
    out = tmp_path / "table1"
    assert main(["experiment", "table1", "--data", str(renamed), "--out", str(out)]) == 0
    users = len(np.load(renamed / "offsets.npy")) - 1
    said = capsys.readouterr().out
    assert f"users: {users:,} here, 13,101 in the paper ({users - 13_101:+,})" in said
    assert f"users: {users:,} here" in (out / "table.md").read_text()
    assert main(["experiment", "verify", str(out)]) == 0
    found = json.loads((out / "experiment.json").read_text())
    found["statistics"][0]["users"] += 1
    (out / "experiment.json").write_text(json.dumps(found))
    capsys.readouterr()
    assert main(["experiment", "verify", str(out)]) == 1
    assert "users" in capsys.readouterr().err


@pytest.mark.real_data
def test_table_1_of_scientific_is_the_papers(
    real_data: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = tmp_path / "scientific"
    source = [str(real_data / "scientific"), "--format", "atomic", "--out", str(data)]
    assert main(["preprocess", *source]) == 0
    capsys.readouterr()
    assert main(["experiment", "table1", "--data", str(data), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["statistics"]
    assert (found["paper_name"], found["differences"]) == ("Scientific", [])


def test_the_papers_rows() -> None:
    # The improvements that the paper prints beside its table 2, over the best other system.
    printed = {
        ("Scientific", "recall@10"): 8.57, ("Scientific", "recall@50"): 6.04,
        ("Scientific", "ndcg@10"): 8.90, ("Pantry", "recall@10"): 9.45,
        ("Pantry", "ndcg@10"): 12.22, ("Instruments", "recall@50"): 3.92,
        ("Arts", "recall@10"): 7.24, ("Arts", "ndcg@10"): 12.20,
        ("Office", "recall@50"): 9.58, ("Office", "ndcg@50"): 9.96,
        ("Online Retail", "recall@10"): 11.26, ("Online Retail", "ndcg@50"): 13.84,
    }  # fmt: skip
    for (data, metric), gain in printed.items():
        rows = paper.rows("table2", data)
        best = max(row[metric] for name, row in rows.items() if name != "MIRACLE")
        assert 100 * (rows["MIRACLE"][metric] / best - 1) == pytest.approx(gain, abs=0.03)
    # Table 3 with two layers and table 4 with 32 capsules repeat table 2's MIRACLE.
    for table, row in (("table3", "L=2"), ("table4", "C=32")):
        for data in ("Scientific", "Office", "Online Retail"):
            own = paper.rows(table, data)[row]
            assert own == {name: paper.rows("table2", data)["MIRACLE"][name] for name in own}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("scientific", "Scientific"),
        ("Industrial_and_Scientific", "Scientific"),
        ("online-retail", "Online Retail"),
        ("Office Products", "Office"),
        ("workshop", None),
        ("", None),
    ],
)
def test_what_the_paper_calls_a_dataset(name: str, known: str | None) -> None:
    assert paper.data_name(name) == known


def test_the_papers_rows_are_of_the_library() -> None:
    for name in ("table2", "table3", "table4"):
        experiment = read_experiment(name)
        for row in paper.rows(experiment.paper, "Scientific"):
            assert row in [system.name for system in experiment.system]
