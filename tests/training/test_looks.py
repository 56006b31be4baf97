"""Looks at the test part are logged in the run; ``train.test=false`` makes none."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from miracle_cli.main import main
from miracle_core.config import make_settings
from miracle_core.data import dataset as datasets
from miracle_core.data.examples import Examples, Split
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.runs.looks import read_looks
from miracle_core.training.finetuning import finetune
from miracle_core.training.seeds import finetune_seeds
from tests.support.runs import tiny_run, tiny_shop
from tests.training.support import quick_settings


def fitted(folder: Path, **train: Any) -> Any:
    tiny_shop(folder / "data")
    model = {"kind": "popularity"}
    values = {"data": str(folder / "data"), "model": model, "seen": "as-printed", "train": train}
    return make_settings(values)


def test_training_looks_once_at_its_end(tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    finetune(quick_settings(tmp_path / "data", train__epochs=2), tmp_path / "run")
    (look,) = read_looks(tmp_path / "run")
    assert (look["command"], look["seen"], look["dataset"]) == ("train", "gain", "tiny")
    assert before <= datetime.fromisoformat(look["when"]) <= datetime.now(UTC)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert look["fingerprint"] == result["fingerprint"]
    finetune(fitted(tmp_path / "fit"), tmp_path / "fit" / "run")
    assert [look["command"] for look in read_looks(tmp_path / "fit" / "run")] == ["train"]


@pytest.mark.parametrize("kind", ["miracle", "popularity"])
def test_the_test_part_stays_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    asked: list[str] = []
    real = datasets.split_examples

    def watched(offsets: Any, cuts: Any, split: Split) -> Examples:
        asked.append(split)
        return real(offsets, cuts, split)

    monkeypatch.setattr(datasets, "split_examples", watched)
    settings = (
        quick_settings(tmp_path / "data", train__epochs=2, train__test=False)
        if kind == "miracle"
        else fitted(tmp_path, test=False)
    )
    result = finetune(settings, tmp_path / "run")
    assert "test" not in result and result["valid"]
    assert set(asked) == {"train", "valid"}
    assert read_looks(tmp_path / "run") == []
    assert "| test |" not in (tmp_path / "run" / "README.md").read_text()
    if kind == "miracle":  # the figures of the best validation
        record = json.loads(
            (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[result["best_epoch"] - 1]
        )
        assert result["figures"] == record["figures"]


def test_seeds_without_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = fitted(tmp_path, test=False)
    summary = finetune_seeds(settings, tmp_path / "seeds", 2)
    assert summary["mean"].keys() == {"valid"}
    data, out = str(tmp_path / "data"), str(tmp_path / "again")
    command = ["train", "--model", "popularity", "--data", data, "--out", out, "--seeds", "2"]
    assert main([*command, "--set", "train.test=false"]) == 0
    out = capsys.readouterr().out
    assert "valid recall@10" in out and "test" not in out


def test_evaluations_of_test_are_logged(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    evaluate_run(run, split="valid")
    assert read_looks(run) == []
    evaluate_run(run)
    evaluate_run(run, seen="leave-out")
    looks = read_looks(run)
    assert [look["command"] for look in looks] == ["evaluate", "evaluate"]
    assert [look["seen"] for look in looks] == ["gain", "leave-out"]
    with (run / "test_looks.jsonl").open("a") as file:
        file.write('{"when": "cut o')
    assert read_looks(run) == looks


def test_a_run_that_can_not_be_written_is_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny_run(tmp_path)
    (run / "test_looks.jsonl").mkdir()  # not writable, even for root
    assert main(["evaluate", str(run), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["split"] == "test"
    assert "is not logged" in said.err and "test_looks.jsonl" in said.err
