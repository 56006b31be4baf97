"""The file of user results: its content, and the files that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import RunEvaluation, evaluate_run
from miracle_core.evaluation.metrics import UNRANKED, ranking_metrics
from miracle_core.evaluation.user_results import (
    TOP,
    read_about,
    read_user_results,
    write_user_results,
)
from miracle_core.files import sha256_file
from miracle_core.ranking.rules import Rules
from miracle_core.report.systems import check_comparable


@pytest.fixture(scope="module")
def evaluation(small_run: Path) -> RunEvaluation:
    return evaluate_run(small_run, seen="leave-out", keep_top=TOP)


@pytest.fixture
def file(evaluation: RunEvaluation, tmp_path: Path) -> Path:
    write_user_results(tmp_path / "users.parquet", evaluation)
    return tmp_path / "users.parquet"


def test_every_column_against_the_sequences(evaluation: RunEvaluation, file: Path) -> None:
    table = pl.read_parquet(file)
    dataset = evaluation.dataset
    user_ids, item_ids = dataset.users["user_id"].to_list(), dataset.items["item_id"].to_list()
    trained = [int(item) for user in range(dataset.n_users) for item in dataset.sequence(user)[:-2]]
    trained += [int(i) for u in range(dataset.n_users) if len(dataset.sequence(u)) < 3
                for i in dataset.sequence(u)[-2:]]  # fmt: skip
    rows = iter(table.iter_rows(named=True))
    for user in range(dataset.n_users):
        *history, target = (int(item) for item in dataset.sequence(user))
        if len(history) < 2:
            continue
        row = next(rows)
        assert row["user_id"] == user_ids[user]
        assert row["target_item_id"] == item_ids[target]
        assert row["history_length"] == len(history)
        assert row["target_count"] == trained.count(target)
        top = row["top_item_ids"]
        assert set(top) == set(item_ids) - {item_ids[item] for item in history}
        if target in history:
            assert row["rank"] is None
        else:
            assert top[row["rank"] - 1] == item_ids[target]
    assert next(rows, None) is None
    assert table["interests"].to_list() == evaluation.found.active.tolist()
    assert table["rank"].null_count() > 0


def test_read_again(evaluation: RunEvaluation, file: Path, small_run: Path) -> None:
    found = read_user_results(file)
    assert found.ranks.tolist() == evaluation.found.ranks.tolist()
    assert (found.ranks == UNRANKED).any()
    assert ranking_metrics(found.ranks) == evaluation.found.metrics
    about = found.about
    assert about.fingerprint == evaluation.dataset.manifest.fingerprint
    assert (about.dataset, about.split, about.run) == ("tiny", "test", "run")
    assert (about.seen, about.trained_seen) == ("leave-out", "gain")
    assert (about.model, about.seeded, about.seed) == ("miracle", True, 2023)
    assert (about.candidates, about.users) == (30, 11)
    assert about.weights_sha256 == sha256_file(small_run / "model.safetensors")
    assert about.settings["model.width"] == 8
    assert not {"train.seed", "data", "datasets"} & set(about.settings)


def test_equal_evaluations_give_equal_bytes(evaluation: RunEvaluation, file: Path) -> None:
    again = file.with_name("again.parquet")
    write_user_results(again, evaluation)
    assert again.read_bytes() == file.read_bytes()


def test_lists_that_were_not_kept_are_no_results(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fewer than 50"):
        write_user_results(tmp_path / "users.parquet", evaluate_run(small_run, keep_top=5))
    assert not list(tmp_path.iterdir())


def test_cut_off_at_any_place(file: Path) -> None:
    whole = file.read_bytes()
    for size in (0, 3, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(InputError, match="parquet"):
            read_user_results(file)


def test_files_of_others(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pl.read_parquet(file).write_parquet(other)
    with pytest.raises(InputError, match="not a file of user results"):
        read_about(other)
    with pytest.raises(InputError, match="can't be read as parquet"):
        read_about(tmp_path / "absent.parquet")


def changed(file: Path, table: pa.Table | None = None, **about: object) -> Path:
    """The file with another table, or with parts of its description replaced."""
    table = pq.read_table(file) if table is None else table
    text = pq.read_schema(file).metadata[b"miracle.user_results"].decode()
    for old, new in about.items():
        assert f'"{old}":' in text
        text = text.replace(f'"{old}":', f'"{new}":')
    pq.write_table(table.replace_schema_metadata({b"miracle.user_results": text}), file)
    return file


def test_descriptions_that_are_not_ours(file: Path) -> None:
    with pytest.raises(InputError, match=r"description can't be read: seed"):
        read_about(changed(file, seed="sead"))


def test_another_format(file: Path) -> None:
    table = pq.read_table(file)
    text = table.schema.metadata[b"miracle.user_results"].replace(b'"format":1', b'"format":2')
    pq.write_table(table.replace_schema_metadata({b"miracle.user_results": text}), file)
    with pytest.raises(InputError, match=r"format: .*reads format 1"):
        read_user_results(file)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("rank", 0, "has rank 0"),
        ("rank", 31, "has rank 31"),
        ("target_count", -1, "has target_count -1"),
        ("user_id", "user-3", "'user-3' has several rows"),
        ("target_item_id", None, "no target_item_id"),
    ],
)
def test_rows_that_cannot_be(file: Path, column: str, value: object, says: str) -> None:
    table = pq.read_table(file)
    values = table[column].to_pylist()
    values[0] = value
    place = table.column_names.index(column)
    field = table.schema.field(column)
    with pytest.raises(InputError, match=says):
        read_user_results(
            changed(file, table.set_column(place, field, pa.array(values, field.type)))
        )


def test_rows_that_are_missing(file: Path) -> None:
    with pytest.raises(InputError, match="has 5 rows and says 11"):
        read_user_results(changed(file, pq.read_table(file).slice(0, 5)))
    with pytest.raises(InputError, match="columns"):
        read_user_results(changed(file, pq.read_table(file).drop(["rank"])))


def test_a_user_with_fewer_candidates_has_a_shorter_list(file: Path) -> None:
    table = pl.read_parquet(file)
    sizes = table["top_item_ids"].list.len().to_numpy()
    assert len(np.unique(sizes)) > 1
    assert sizes.max() < 30


def test_rules_about_who_competes_are_in_the_file(
    small_run: Path, evaluation: RunEvaluation, tmp_path: Path
) -> None:
    """Ranks count only the candidates that the rules leave. Different rules are never mixed."""
    rules = Rules(deny=("I03", "I04"), boost={2: 0.4})
    under = evaluate_run(small_run, seen="leave-out", keep_top=TOP, rules=rules)
    files = [tmp_path / "plain.parquet", tmp_path / "under.parquet"]
    write_user_results(files[0], evaluation)
    write_user_results(files[1], under)
    plain, found = map(read_user_results, files)
    assert "rules" not in json.loads(pq.read_schema(files[0]).metadata[b"miracle.user_results"])
    assert plain.about.rules is None
    assert found.about.rules == rules.record()
    assert found.about.rules["deny"] == 2
    assert (found.ranks == under.found.ranks).all() and (found.ranks != plain.ranks).any()
    denied = found.targets.is_in(["I03", "I04"]).to_numpy()
    assert denied.any() and (found.ranks[denied] == UNRANKED).all()
    with pytest.raises(InputError, match="different rules of a shop: none and deny 2, boost"):
        check_comparable([plain, found])
    # Rules with the same number of different ids are different rules.
    other = Rules(deny=("I03", "I05"), boost={2: 0.4}).record()
    assert other["deny"] == 2 and other["sha256"] != found.about.rules["sha256"]
    check_comparable([found, found])


@pytest.mark.parametrize("asked", [{"quota": 1}, {"diversity": 0.1, "diverse_by": "text"}])
def test_rules_about_lists_give_no_one_rank(
    small_run: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    found = evaluate_run(small_run, keep_top=TOP, rules=Rules(**asked))
    with pytest.raises(InputError, match="holds one rank a user"):
        write_user_results(tmp_path / "users.parquet", found)
    assert not list(tmp_path.iterdir())
