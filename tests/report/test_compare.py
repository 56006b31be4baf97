"""``miracle compare``: from runs and files to tables, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from miracle_cli.main import main
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.evaluation.user_results import read_user_results
from miracle_core.report.statistics import Pair
from miracle_core.report.verify import check_lists, verify
from tests.support.runs import other_shop, random_model, tiny_settings, tiny_shop, write_run

KEY = b"miracle.user_results"


def shop_run(folder: Path, dataset: Dataset, seed: int, **changes: Any) -> Path:
    """A run of random weights, drawn by its seed."""
    settings = tiny_settings(data=str(dataset.folder), train__seed=seed, **changes)
    return write_run(folder, dataset, settings, random_model(settings, dataset, seed))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems, ``wide`` with three seeds and ``narrow`` with two, and one run of a third."""
    folder = tmp_path_factory.mktemp("runs")
    data = tiny_shop(folder / "data")
    for seed in (1, 2, 3):
        shop_run(folder / "wide" / f"seed-{seed}", data, seed, model__inner=12)
    for seed in (4, 5):
        shop_run(folder / "narrow" / f"seed-{seed}", data, seed)
    shop_run(folder / "alone", data, 6, model__layers=2)
    return folder


def asked(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    assert main(["compare", *map(str, args), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert main(["compare", *map(str, args)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


@pytest.fixture
def file(runs: Path, tmp_path: Path) -> Path:
    """User results of the first seed of ``wide``."""
    path = tmp_path / "w.parquet"
    assert main(["evaluate", str(runs / "wide" / "seed-1"), "--save-users", str(path)]) == 0
    return path


def rewritten(source: Path, target: Path, ranks: list[int | None] | None = None, **about: Any):
    """A copy with other words in its description, or other ranks."""
    table = pq.read_table(source)
    told = json.loads(table.schema.metadata[KEY]) | about
    if ranks is not None:
        place = table.column_names.index("rank")
        table = table.set_column(place, "rank", pa.array(ranks, pa.int64()))
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(told).encode()}), target)
    return target


def test_runs_become_systems(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, runs / "wide", runs / "narrow", runs / "alone", "--proposed", "wide")
    assert [(s["name"], s["seeds"]) for s in found["systems"]] == [
        ("wide", [1, 2, 3]),
        ("narrow", [4, 5]),
        ("alone", [6]),
    ]
    assert (found["dataset"], found["users"], found["candidates"]) == ("tiny", 11, 30)
    assert (found["column"], found["reference"], found["primary"]) == (
        "seen-aware",
        "wide",
        "ndcg@10",
    )
    values = {
        name: np.array([_ndcg(evaluate_run(each).found.ranks) for each in sorted(folder)])
        for name, folder in (
            ("wide", list((runs / "wide").iterdir())),
            ("narrow", list((runs / "narrow").iterdir())),
        )
    }
    expected = Pair(values["wide"], values["narrow"]).difference
    narrow, alone = found["against"]
    own = narrow["differences"]["ndcg@10"]
    assert own["difference"] == pytest.approx(expected.difference)
    assert own["p"] == pytest.approx(expected.p)
    # Only one test is possible, because the third system has a single run.
    assert narrow["adjusted_p"] == pytest.approx(expected.p)
    assert (alone["adjusted_p"], alone["verdict"]) == (None, "no claim")
    assert alone["differences"]["ndcg@10"]["both"] is False
    # Comparisons outside the claim have no p-value.
    assert all(d["p"] is None for name, d in narrow["differences"].items() if name != "ndcg@10")
    better = (values["wide"].mean(0) > values["narrow"].mean(0)).mean()
    assert narrow["wins"]["all"]["better"] == pytest.approx(better)
    for slices in (narrow["wins"]["history_length"], found["slices"]["target_popularity"]):
        assert sum(each["users"] for each in slices) == 11


def _ndcg(ranks: np.ndarray) -> np.ndarray:
    return np.where(ranks <= 10, 1 / np.log2(np.minimum(ranks, 99) + 1), 0)


def test_results_are_kept_until_weights_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tiny_shop(tmp_path / "data")
    a, b = shop_run(tmp_path / "a", data, 1), shop_run(tmp_path / "b", data, 2, model__inner=12)
    first = asked(capsys, a, b)
    assert main(["compare", str(a), str(b)]) == 0
    assert "evaluating" not in capsys.readouterr().err
    # The same folder with another training.
    other = shop_run(tmp_path / "other", data, 9)
    (a / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    assert main(["compare", str(a), str(b), "--json"]) == 0
    said = capsys.readouterr()
    assert f"evaluating {a}" in said.err
    assert f"evaluating {b}" not in said.err
    assert json.loads(said.out)["systems"][0]["metrics"] != first["systems"][0]["metrics"]


def test_files_alone_say_the_same_as_runs(
    runs: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = tmp_path / "n.parquet"
    assert main(["evaluate", str(runs / "narrow/seed-4"), "--save-users", str(second)]) == 0
    capsys.readouterr()
    of_files = asked(capsys, file, second)
    of_runs = asked(capsys, runs / "wide" / "seed-1", runs / "narrow" / "seed-4")
    assert [s["metrics"] for s in of_files["systems"]] == [s["metrics"] for s in of_runs["systems"]]
    assert [s["name"] for s in of_files["systems"]] == ["w", "n"]


def test_tables(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--markdown", "--latex", "--csv"]
    paths = [tmp_path / "t.md", tmp_path / "t.tex", tmp_path / "t.csv"]
    options = [text for pair in zip(names, map(str, paths), strict=True) for text in pair]
    systems = [str(runs / name) for name in ("wide", "narrow", "alone")]
    assert main(["compare", *systems, "--proposed", "wide", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    means = {s["name"]: s["metrics"]["ndcg@10"]["value"] for s in found["systems"]}
    best, second, worst = sorted(means, key=lambda name: -means[name])
    text = paths[0].read_text()
    assert f"**{means[best]:.4f}**" in text
    assert f"<u>{means[second]:.4f}</u>" in text
    assert f"| {means[worst]:.4f} |" in text
    assert "Fewer than 5 seeds: wide (3), narrow (2), alone (1)." in text
    assert "no claim: one seed" in text
    tex = paths[1].read_text()
    assert rf"\textbf{{{means[best]:.4f}}}" in tex
    assert rf"\underline{{{means[second]:.4f}}}" in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 2
    assert r"95 \% interval" in tex
    rows = list(csv.DictReader(paths[2].read_text().splitlines()))
    own = next(r for r in rows if r["metric"] == "ndcg@10" and r["against"] == "narrow")
    said = found["against"][0]
    assert float(own["p_holm"]) == said["adjusted_p"]
    assert float(own["low"]) == said["differences"]["ndcg@10"]["interval"]["low"]
    assert main(["compare", *systems]) == 0
    shown = capsys.readouterr().out
    assert f"{means[best]:.4f} *" in shown
    assert f"{means[second]:.4f} +" in shown
    assert "No hypothesis was fixed beforehand" in shown
    assert "--proposed NAME" in shown  # only a terminal explains how to claim
    # Without a claim there are no p-values, and others are compared with the highest mean.
    texts = [shown]
    for option, path in zip(names, paths, strict=True):
        assert main(["compare", *systems, option, str(path)]) == 0
        texts.append(path.read_text())
    capsys.readouterr()
    assert not any("p (" in each for each in texts)
    assert not any("--proposed" in each for each in texts[1:])
    assert all(f"{best} - {second}" in each for each in texts[:3])
    csv_rows = list(csv.DictReader(texts[3].splitlines()))
    assert {row["system"] for row in csv_rows if row["against"]} == {best}


def test_clusters(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Dataset.open(runs / "data")
    ids = data.users["user_id"].to_list()
    file = tmp_path / "customers.csv"
    file.write_text("user_id,cluster\n" + "".join(f"{u},c{i // 3}\n" for i, u in enumerate(ids)))
    systems = [runs / "wide", runs / "narrow"]
    found = asked(capsys, *systems, "--clusters", file)
    assert found["clusters"] == 5
    alone = asked(capsys, *systems)
    name = "ndcg@10"
    assert (
        found["against"][0]["differences"][name]["difference"]
        == alone["against"][0]["differences"][name]["difference"]
    )
    clusters = {user: f"c{place // 3}" for place, user in enumerate(ids)}
    assert verify(found, clusters) == []
    assert verify(found) != []
    for text, says in (
        ("user_id,group\nuser-2,c\n", "no column cluster"),
        ("user_id,cluster\nuser-2,a\nuser-2,b\n", "'user-2' is in several clusters"),
        ("user_id,cluster\nuser-2,a\n", "10 users have no cluster, 'user-3' first"),
        ("user_id,cluster\n" + "".join(f"{u},c\n" for u in ids), "all users are in one cluster"),
    ):
        file.write_text(text)
        assert says in refused(capsys, *systems, "--clusters", file)


def test_a_second_computation_agrees(
    runs: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(capsys, runs / "wide", runs / "narrow", runs / "alone", "--proposed", "narrow")
    assert verify(found) == []
    pairs = [(each["a"], each["b"]) for each in found["pairs"]]
    means = {s["name"]: s["metrics"]["ndcg@10"]["value"] for s in found["systems"]}
    assert len(pairs) == 3
    assert all(means[a] >= means[b] for a, b in pairs)
    assert all("p" not in each for each in found["pairs"])
    found["against"][0]["differences"]["mrr@10"]["error"] *= 1.001
    found["against"][0]["adjusted_p"] *= 1.001
    found["against"][0]["differences"]["ndcg@10"]["equal_p"] += 1e-4
    found["against"][0]["differences"]["ndcg@10"]["relative_interval"]["low"] -= 1e-3
    found["against"][1]["wins"]["all"]["better"] += 1 / 11
    found["against"][1]["wins"]["history_length"][0]["worse"] += 1 / 11
    found["against"][1]["wins"]["all"]["neither"] += 1 / 11
    found["pairs"][2]["error"] *= 1.001
    found["slices"]["history_length"][0]["means"]["wide"] += 1e-6
    found["systems"][0]["metrics"]["recall@10"]["value"] += 1e-6
    found["against"][0]["verdict"] = "splendid"
    wrong = verify(found)
    assert len(wrong) == 11
    assert "from the ranks" in wrong[0]
    assert check_lists(file) == []
    ranks = pq.read_table(file)["rank"].to_pylist()
    changed = rewritten(file, tmp_path / "x.parquet", [ranks[0] % 30 + 1, *ranks[1:]])
    (sentence,) = check_lists(changed)
    assert "'user-2' has rank" in sentence


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"fingerprint": "f" * 64}, "different Datasets or splits: tiny"),
        ({"split": "valid"}, "different splits: test and valid"),
        ({"candidates": 31}, "different candidates: 30 and 31"),
        ({"seen": "as-printed"}, "different seen rules: seen-aware and as printed"),
    ],
)
def test_what_differs_is_refused_with_both_sides(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], about: Any, says: str
) -> None:
    other = rewritten(file, tmp_path / "other.parquet", seed=7, **about)
    said = refused(capsys, file, other)
    assert says in said
    assert f"{file} and {other}" in said
    assert "fix:" in said


@pytest.mark.parametrize("users", [0, 1])
def test_fewer_than_two_users_have_no_interval(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], users: int
) -> None:
    few = []
    for seed in (1, 2):
        few.append(rewritten(file, tmp_path / f"{seed}.parquet", users=users, model=f"m{seed}"))
        table = pq.read_table(few[-1])
        pq.write_table(table.slice(0, users), few[-1])
    assert f"holds {users} user(s), and an interval needs at least two" in refused(capsys, *few)


def test_a_file_without_lists(file: Path, tmp_path: Path) -> None:
    table, path = pq.read_table(file), tmp_path / "x.parquet"
    lists = table.schema.field("top_item_ids")
    empty = pa.nulls(table.num_rows, lists.type)
    pq.write_table(table.set_column(table.num_columns - 1, lists, empty), path)
    assert len(check_lists(path)) == table.num_rows
    assert "'user-2' has no list" in check_lists(path)[0]
    pq.write_table(table.drop(["top_item_ids"]), path)
    with pytest.raises(InputError, match="has not the columns of user results"):
        read_user_results(path)


def test_leaving_out_and_a_gain_are_one_column(
    runs: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = runs / "narrow" / "seed-4", tmp_path / "other.parquet"
    options = ["--seen", "leave-out", "--save-users", str(other)]
    assert main(["evaluate", str(run), *options]) == 0
    capsys.readouterr()
    assert [s["seen"] for s in asked(capsys, file, other)["systems"]] == ["gain", "leave-out"]
    same = rewritten(file, tmp_path / "same.parquet", seed=9, seen="leave-out")
    assert "different seen rules: gain and leave-out" in refused(capsys, file, same)


def test_runs_that_count_twice(
    runs: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "are both" in refused(capsys, file, runs / "wide")
    copy = rewritten(file, tmp_path / "copy.parquet", seed=99)
    assert "their weights are the same" in refused(capsys, file, copy)
    between = rewritten(file, tmp_path / "between.parquet", seed=50, weights_sha256="0" * 64)
    said = refused(capsys, file, between, copy)
    assert "and 99, but their weights are the same" in said
    assert f"{file} and {copy}" in said


def test_other_users_are_refused(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(file)
    ids = ["stranger", *table["user_id"].to_pylist()[1:]]
    pq.write_table(table.set_column(0, "user_id", pa.array(ids)), tmp_path / "u.parquet")
    assert "their users differ" in refused(capsys, file, tmp_path / "u.parquet")


def test_bad_arguments(
    runs: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide, narrow = runs / "wide", runs / "narrow"
    assert "one system only: miracle, 3 run(s)" in refused(capsys, wide)
    assert "choose one of wide, narrow" in refused(capsys, wide, narrow, "--proposed", "miracle")
    for metric in ("ndcg", "hits@10", "ndcg@0", "ndcg@-1", "ndcg@010"):
        assert "is not a metric" in refused(capsys, wide, narrow, "--primary", metric)
    assert "is no run, no folder" in refused(capsys, wide, tmp_path)
    assert "is no run, no folder" in refused(capsys, wide, tmp_path / "absent")
    assert "is a folder" in refused(capsys, wide, narrow, "--latex", tmp_path)
    assert "not a split" in refused(capsys, wide, narrow, "--split", "train")
    (tmp_path / "half.parquet").write_bytes(file.read_bytes()[:300])
    assert "can't be read as parquet" in refused(capsys, file, tmp_path / "half.parquet")


def test_another_dataset(tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = other_shop(tmp_path / "data")
    said = refused(capsys, runs / "wide", shop_run(tmp_path / "run", other, 1))
    assert "different Datasets or splits: tiny" in said
    assert "other" in said


def test_a_damaged_kept_file_is_named(tmp_path: Path) -> None:
    from miracle_core.report.gather import gather

    run = shop_run(tmp_path / "a", tiny_shop(tmp_path / "data"), 1)
    kept = gather([run])[0].results.where
    kept.write_bytes(kept.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"users-test-gain\.parquet"):
        gather([run])
