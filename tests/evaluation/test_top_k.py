"""The saved top-K file: metrics computed from it alone, and what it must not contain."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from miracle_cli.main import main
from miracle_core.config import SeenRule
from miracle_core.data.dataset import Dataset
from miracle_core.data.writing import write_dataset
from miracle_core.evaluation import evaluate as evaluate_module
from miracle_core.evaluation import top_k as top_k_module
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.evaluate_run import RunEvaluation, evaluate_run
from miracle_core.evaluation.top_k import write_top_k
from miracle_core.ranking import walk
from tests.support.runs import tiny_run
from tests.support.scorers import fitted


def from_file(path: Path, users: int, k: int) -> dict[str, float]:
    """Recall, NDCG and MRR at k, computed only from the rows of the file."""
    hits = [
        row["rank"]
        for row in pl.read_parquet(path).iter_rows(named=True)
        if row["item_id"] == row["target_item_id"] and row["rank"] <= k
    ]
    return {
        f"recall@{k}": len(hits) / users,
        f"ndcg@{k}": math.fsum(math.log(2) / math.log(1 + rank) for rank in hits) / users,
        f"mrr@{k}": math.fsum(1 / rank for rank in hits) / users,
    }


def saved(found: RunEvaluation, path: Path) -> pl.DataFrame:
    write_top_k(path, found.found, found.dataset)
    return pl.read_parquet(path)


@pytest.mark.parametrize("seen", ["as-printed", "leave-out", "gain"])
@pytest.mark.parametrize("mode", ["transductive", "inductive"])
def test_metrics_from_the_file_agree(tmp_path: Path, mode: str, seen: SeenRule) -> None:
    run = tiny_run(tmp_path, train__mode=mode)
    found = evaluate_run(run, ks=(1, 3, 10, 30, 50), keep_top=30, seen=seen)
    saved(found, tmp_path / "top.parquet")
    users = len(found.found.users)
    assert users == 11
    for k in (1, 3, 10, 30, 50):
        for name, value in from_file(tmp_path / "top.parquet", users, k).items():
            assert found.found.metrics[name] == pytest.approx(value, abs=1e-9), name


def test_every_item_is_a_candidate_once_and_nothing_else_is(tmp_path: Path) -> None:
    """If K is the catalogue's size, each list is the whole catalogue with item 0, unpadded."""
    found = evaluate_run(tiny_run(tmp_path), keep_top=1000)
    table = saved(found, tmp_path / "top.parquet")
    catalogue = sorted(found.dataset.items["item_id"])
    for _, rows in table.group_by("user_id"):
        assert rows["rank"].to_list() == list(range(1, 31))
        assert sorted(rows["item_id"]) == catalogue
        assert rows["score"].is_sorted(descending=True)
        assert rows["target_item_id"].n_unique() == 1
    assert table["user_id"].unique(maintain_order=True).to_list() == [
        f"user-{user}" for user in found.found.users
    ]


def test_seen_items_are_not_in_the_file_when_they_are_excluded(tmp_path: Path) -> None:
    found = evaluate_run(tiny_run(tmp_path), keep_top=30, seen="leave-out")
    table = saved(found, tmp_path / "top.parquet")
    ids, dataset = found.dataset.items["item_id"], found.dataset
    for user in found.found.users.tolist():
        # The whole history is excluded, including items too old for the model to read.
        seen = {ids[int(item)] for item in dataset.sequence(user)[:-1]}
        listed = table.filter(pl.col("user_id") == f"user-{user}")
        assert set(listed["item_id"]) == set(ids) - seen
        assert listed["rank"].to_list() == list(range(1, 31 - len(seen)))
        assert listed["target_item_id"][0] == ids[int(dataset.sequence(user)[-1])]


def seen_everything(folder: Path) -> Dataset:
    """Four items. One user has taken all of them, another all but the held-out one."""
    items = pl.DataFrame({c: [f"{c}{i}" for i in range(4)] for c in ("item_id", "title", "text")})
    sequences = [0, 1, 2, 3, 1, 0, 1, 2, 3, 0, 1, 2]
    return write_dataset(
        folder,
        name="small",
        items=items.with_columns(domain=pl.lit("d")),
        user_ids=["all", "but one", "some"],
        sequences=np.array(sequences, np.int32),
        offsets=np.array([0, 5, 9, 12]),
        sources=[],
        settings={},
        counts={},
    )


@pytest.mark.parametrize("name", ["top.parquet", "top.csv"])
def test_a_user_who_has_seen_every_item_counts_as_evaluate_counts(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the page's recipe verbatim on a file in which one user has no candidates."""
    dataset = seen_everything(tmp_path / "data")
    found = evaluate(
        fitted("popularity", dataset), dataset, ks=(1, 2, 10), leave_out=True, keep_top=10
    )
    assert np.isneginf(found.top_scores[0]).all()
    path = tmp_path / name
    for users in (8192, 1):
        monkeypatch.setattr(top_k_module, "_USERS", users)
        write_top_k(str(path), found, dataset)
        top = pl.read_csv(path) if name.endswith("csv") else pl.read_parquet(path)
        assert top["user_id"].unique(maintain_order=True).to_list() == ["all", "but one", "some"]
        assert top.row(0) == ("all", None, None, None, "item_id1")
        assert top["rank"].to_list() == [None, 1, 1, 2]
        assert top.columns == ["user_id", "rank", "item_id", "score", "target_item_id"]
        for k in (1, 2, 10):
            users = top["user_id"].n_unique()
            hits = top.filter(pl.col("item_id") == pl.col("target_item_id"), pl.col("rank") <= k)[
                "rank"
            ]
            assert len(hits) / users == pytest.approx(found.metrics[f"recall@{k}"])
            ndcg = (1 / (hits + 1).log(2)).sum() / users
            assert ndcg == pytest.approx(found.metrics[f"ndcg@{k}"])


@pytest.mark.parametrize("name", ["top", "top.txt", "top.csv.gz", "top.json"])
def test_a_name_that_says_no_format_is_refused_before_anything_slow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    options = ["--save-top-k", str(tmp_path / name)]
    assert main(["evaluate", str(tmp_path / "no run"), *options]) == 2
    err = capsys.readouterr().err
    assert "in which format" in err
    assert "end it in .parquet or .csv" in err
    assert list(tmp_path.iterdir()) == []


def test_a_csv_is_a_csv_and_says_what_the_parquet_says(tmp_path: Path) -> None:
    found = evaluate_run(tiny_run(tmp_path), keep_top=5)
    table = saved(found, tmp_path / "top.parquet")
    write_top_k(tmp_path / "top.CSV", found.found, found.dataset)
    text = (tmp_path / "top.CSV").read_text(encoding="utf-8")
    assert text.startswith("user_id,rank,item_id,score,target_item_id\n")
    again = pl.read_csv(tmp_path / "top.CSV", schema=table.schema)
    assert again.equals(table)


def test_a_seen_target_is_no_hit_even_when_k_is_the_whole_catalogue(tmp_path: Path) -> None:
    """Popularity on the tiny shop, where some users took their held-out item before."""
    dataset = Dataset.open(tiny_run(tmp_path) / "data")
    found = evaluate(fitted("popularity", dataset), dataset, ks=(30, 50), leave_out=True)
    again = [int(dataset.sequence(u)[-1]) in dataset.sequence(u)[:-1] for u in found.users]
    assert any(again)
    for k in (30, 50):
        assert found.metrics[f"recall@{k}"] == pytest.approx(1 - np.mean(again), abs=1e-12)


def test_the_file_is_whole_or_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = evaluate_run(tiny_run(tmp_path), keep_top=5)
    path = tmp_path / "deep" / "top.parquet"
    one = saved(found, path)
    monkeypatch.setattr(top_k_module, "_USERS", 3)
    assert saved(found, path).equals(one)
    before = path.read_bytes()

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(top_k_module.pq.ParquetWriter, "write_table", fails)
    with pytest.raises(OSError, match="disk full"):
        write_top_k(path, found.found, found.dataset)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["top.parquet"]


def test_nothing_depends_on_batches_or_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run(tmp_path)
    whole = evaluate_run(run, keep_top=30).found
    for batch, chunk, block in ((1, 1, 1), (2, 60, 7), (3, 1 << 24, 64), (5, 90, 1 << 22)):
        monkeypatch.setattr(evaluate_module, "BATCH_USERS", batch)
        monkeypatch.setattr(walk, "CHUNK_ELEMENTS", chunk)
        monkeypatch.setattr(walk, "BLOCK_ELEMENTS", block)
        monkeypatch.setattr(walk, "MIN_ROWS", 1)
        cut = evaluate_run(run, keep_top=30).found
        assert cut.metrics == whole.metrics
        for name in ("users", "targets", "ranks", "active", "capsule_users", "top_items"):
            assert np.array_equal(getattr(cut, name), getattr(whole, name)), name
        np.testing.assert_allclose(cut.top_scores, whole.top_scores, rtol=1e-5, atol=1e-6)
