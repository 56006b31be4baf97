"""``miracle evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from miracle_cli.main import main
from miracle_core.evaluation.beyond import beyond_accuracy
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.evaluation.metrics import ranking_metrics
from miracle_core.evaluation.user_results import read_user_results
from tests.support.runs import tiny_run


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Parse stdout, which is one JSON document and nothing else."""
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


@pytest.mark.parametrize("name", ["evaluate", "eval"])
def test_json(small_run: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main([name, str(small_run), "--json"]) == 0
    found = shown(capsys)
    assert found.pop("seconds") >= 0
    expected = evaluate_run(small_run).summary()
    expected.pop("seconds")
    assert found == expected
    assert list(found["metrics"]) == [
        f"{m}@{k}" for k in (10, 50) for m in ("recall", "ndcg", "mrr")
    ]


def test_every_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path)
    top = tmp_path / "top.parquet"
    options = ["--split", "valid", "--k", "5", "--k", "1", "--k", "5", "--exclude-seen"]
    options += ["--data", str(tmp_path / "data"), "--encoder", "hashing:32"]
    options += ["--save-top-k", str(top), "--top-k", "4"]
    assert main(["evaluate", str(run), *options, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["split"], found["exclude_seen"], found["seen"]) == ("valid", True, "leave-out")
    assert set(found["metrics"]) == {f"{m}@{k}" for k in (1, 5) for m in ("recall", "ndcg", "mrr")}
    assert found["references"].keys() == {"popularity", "chance"}
    table = pl.read_parquet(top)
    assert table.columns == ["user_id", "rank", "item_id", "score", "target_item_id"]
    assert table["rank"].max() == 4
    hits = table.filter(pl.col("item_id") == pl.col("target_item_id"), pl.col("rank") == 1)
    assert found["metrics"]["recall@1"] == pytest.approx(hits.height / 11, abs=1e-9)
    assert f"written to {top}" in said.err


def test_beyond_accuracy(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(small_run), "--beyond", "--json"]) == 0
    found = shown(capsys)["beyond"]
    expected = beyond_accuracy(evaluate_run(small_run, keep_top=10)).summary()
    assert found == expected
    assert main(["evaluate", str(small_run), "--beyond"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, value in expected.items():
        if isinstance(value, float):
            label = name.replace("_", " ")
            assert any(line.startswith(label) and f"{value:.4g}" in line for line in lines)
    assert main(["evaluate", str(small_run), "--json"]) == 0
    assert "beyond" not in shown(capsys)


def test_user_results_beside_a_shorter_top_k(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users, top = tmp_path / "users.parquet", tmp_path / "top.parquet"
    options = ["--save-users", str(users), "--save-top-k", str(top), "--top-k", "4"]
    assert main(["evaluate", str(small_run), *options, "--json"]) == 0
    said = capsys.readouterr()
    assert f"user results written to {users}" in said.err
    found = read_user_results(users)
    assert ranking_metrics(found.ranks) == json.loads(said.out)["metrics"]
    assert pl.read_parquet(top)["rank"].max() == 4
    assert pl.read_parquet(users)["top_item_ids"].list.len().max() == 30


def test_for_people(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(small_run)]) == 0
    said = capsys.readouterr()
    metrics = evaluate_run(small_run).summary()["metrics"]
    lines = said.out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.split()}
    for value in metrics.values():
        assert f"{value:.4f}" in rows["run"]
    assert {"popularity", "chance", "users", "items"} <= rows.keys()
    use = next(line for line in lines if line.startswith("capsules in use"))
    assert use.endswith(" of 7")
    assert "capsules per user" in said.out
    assert "ranking (test)" in said.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--split", "train"], "not a split to evaluate"),
        (["--k", "0"], "'--k'"),
        (["--save-top-k", "."], "is a folder"),
        (["--save-users", "."], "is a folder"),
        (["--data", "nowhere"], "not a Dataset folder"),
        (["--encoder", "minilm"], "leave it out"),
    ],
)
def test_bad_options(
    small_run: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert main(["evaluate", str(small_run), *options, "--json"]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
