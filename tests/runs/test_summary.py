"""Find and summarise run folders without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from miracle_core.runs.folder import RunFolder
from miracle_core.runs.records import kept_epoch, read_metrics, read_result
from miracle_core.runs.summary import find_runs, is_pretrained, is_run, summarise
from tests.support.old_runs import make_old
from tests.support.runs import tiny_run
from tests.support.systems import pretrained, trained


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted run, a trained one and a pre-trained one. Treat as read-only."""
    folder = tmp_path_factory.mktemp("runs")
    trained(folder, "popularity")
    trained(folder, "mind")
    pretrained(folder)
    return folder


def test_reading_them_brings_neither_torch_nor_pydantic() -> None:
    program = (
        "import sys, miracle_core.runs.records, miracle_core.runs.summary;"
        "print(*[m for m in ('torch', 'numpy', 'polars', 'pydantic') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == []


def test_every_kind_of_run_is_found_with_its_system(place: Path) -> None:
    found = {run.path.name: run for run in find_runs([place])}
    assert {name: run.title for name, run in found.items()} == {
        "popularity": "Popularity",
        "mind": "MIND",
        "pretrained": "MIRACLE",
    }, "and no Dataset is taken for a run"
    fitted, mind, pre = found["popularity"], found["mind"], found["pretrained"]
    assert fitted.fitted and not mind.fitted and not pre.fitted
    assert fitted.kept == ("best",) and fitted.epochs == 0 and fitted.status == "finished"
    assert fitted.best == read_result(fitted.path)["valid"][fitted.metric]
    assert mind.epochs == 2 and mind.planned == 2
    values = [record["valid"][mind.metric] for record in read_metrics(mind.path).records]
    assert mind.best == max(values) == values[mind.best_epoch - 1]
    assert mind.last == values[-1] and mind.kept == ("best", "last")
    assert kept_epoch(mind.path, "best") == mind.best_epoch
    assert kept_epoch(mind.path, "last") == 2
    assert pre.pretrained and pre.dataset == "tiny, other" and pre.epochs == 1
    assert not mind.pretrained and mind.dataset == fitted.dataset == "tiny"


def test_the_reader_of_the_folder_and_of_lists_read_the_same(place: Path) -> None:
    for name in ("popularity", "mind", "pretrained"):
        assert RunFolder(place / name).history() == list(read_metrics(place / name).records)


def test_a_folder_is_a_run_only_with_data_or_after_a_pretraining(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    for text in ("", "datasets = []\n[train]\n", 'datasets = ["a"]\n', "datasets = 3\n[train]\n"):
        config.write_text(text)
        assert not is_run(tmp_path) and not is_pretrained(tmp_path), text
    config.write_text('datasets = ["/data/arts", "/data/pantry"]\n[train]\nepochs = 7\n')
    assert is_run(tmp_path)
    found = summarise(tmp_path)
    assert (found.dataset, found.planned, found.ready) == ("arts, pantry", 7, False)


def test_what_cannot_be_read_is_left_empty(tmp_path: Path) -> None:
    for name, text in (
        ("config.toml", 'model = 3\ntrain = "no"\n'),
        ("result.json", '{"valid": 3, "datasets": [1]}'),
        ("data/manifest.json", "[]"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = summarise(tmp_path)
    assert (found.system, found.dataset, found.metric, found.best) == ("miracle", "", "", None)
    assert (found.status, found.planned, found.kept) == ("no result yet", 0, ())


def test_a_system_that_is_not_registered_here_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[model]\nkind = "elsewhere"\n')
    found = summarise(tmp_path)
    assert (found.system, found.title, found.fitted) == ("elsewhere", "elsewhere", False)


def test_a_run_of_before_is_summed_up_like_todays(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    record = {
        "epoch": 1,
        "train": {"loss": 3.0},
        "valid": {"recall@10": 0.25},
        "figures": {"capsules_in_use": 6, "capsules_per_user": 2.5},
    }
    (run / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    folder = RunFolder(run)
    tensors = folder.read_weights()[0]
    from miracle_core.runs.tensors import load_tensors, save_tensors

    save_tensors(folder.weights, tensors, {**load_tensors(folder.weights)[1], "kind": "miracle"})
    make_old(run)
    assert "figures" not in (run / "metrics.jsonl").read_text()
    (read,) = read_metrics(run).records
    assert read["figures"] == record["figures"] and "capsules" not in read
    found = summarise(run)
    assert (found.title, found.dataset, found.best) == ("MIRACLE", "tiny", 0.25)


def test_damaged_metrics_are_read_up_to_the_damage(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    good = {"epoch": 1, "train": {"loss": 4.0}, "valid": {}, "figures": {}}
    second = json.dumps({**good, "epoch": 2})
    first = json.dumps(good)
    for bad in ("{", "[]", "3", json.dumps({**good, "epoch": 2, "train": 1}), "\x00", first):
        file.write_text(f"{first}\n{bad}\n{second}\n")
        found = read_metrics(tmp_path)
        assert found.damaged and len(found.records) == 1, bad
        assert RunFolder(tmp_path).history() == list(found.records)
    file.write_text(f"{first}\n{second[:30]}")
    found = read_metrics(tmp_path)
    assert not found.damaged and len(found.records) == 1, "it is still being written"
    file.write_text(f"{first}\n{second}\n")
    assert len(read_metrics(tmp_path).records) == 2
