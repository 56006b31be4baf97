"""``popularity``, ``random`` and ``textknn``, without epochs or capsules, through every command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miracle_cli.main import main
from miracle_core.data.dataset import Dataset
from miracle_core.recommender import Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.tensors import load_tensors
from tests.support.runs import TITLES, other_shop, tiny_shop

Capture = pytest.CaptureFixture[str]
KINDS = ("popularity", "random", "textknn")
# Keys that need a system with capsules, or with several interests per user.
OWN_OF_CAPSULES = {"capsule", "capsules", "scores", "active_capsules", "active_per_user"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data`` and a run of each kind under its name. Treat as read-only."""
    folder = tmp_path_factory.mktemp("runs")
    tiny_shop(folder / "data")
    for kind in KINDS:
        assert main(train(folder, kind)) == 0
    return folder


def train(folder: Path, kind: str, *options: str, out: str = "") -> list[str]:
    data, run = str(folder / "data"), str(folder / (out or kind))
    return ["train", "--model", kind, "--data", data, "--out", run, *options]


def shown(capsys: Capture, *args: str | Path) -> Any:
    capsys.readouterr()
    assert main([*map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def keys(value: Any) -> set[str]:
    """Every key in a JSON document."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_without_epochs_is_a_run(runs: Path, tmp_path: Path, kind: str) -> None:
    run = RunFolder(runs / kind)
    assert {path.name for path in run.path.iterdir()} == {
        *("README.md", "config.toml", "data", "model.safetensors", "result.json"),
        "test_looks.jsonl",
    }
    result = run.read_result()
    assert result is not None
    assert (result["status"], result["epochs"], result["best_epoch"]) == ("finished", 0, 0)
    assert (result["model"], result["dataset"]) == (kind, "tiny")
    assert result["seen"] == ("leave-out" if kind == "textknn" else "as-printed")
    assert result["valid"].keys() == result["test"].keys() >= {"recall@10", "ndcg@50"}
    _, metadata = load_tensors(run.weights)
    assert (metadata["kind"], metadata["epoch"]) == (kind, "0")
    assert run.history() == []
    # Text is read, and its features are kept, only if the system needs them.
    features = Dataset.open(run.data).manifest.features
    assert list(features) == (["hashing:32"] if kind == "textknn" else [])


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_says_what_it_is_and_how_good(runs: Path, kind: str) -> None:
    card = (runs / kind / "README.md").read_text()
    title = {"popularity": "Popularity", "random": "Random", "textknn": "Nearness of text"}[kind]
    assert card.startswith(f"# {title} on tiny\n")
    assert f"- Model: `{kind}`, " in card
    rule = "left out of the candidates" if kind == "textknn" else "candidates like any other"
    assert f"- Items that the history holds: {rule}" in card
    assert ("Text vectors" in card) == (kind == "textknn")
    result = json.loads((runs / kind / "result.json").read_text())
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines()]
    rows = {cells[0]: cells[1:] for cells in lines if cells}
    for split in ("valid", "test"):
        told = dict(zip(rows["split"], rows[split], strict=True))
        assert told == {name: f"{value:.4f}" for name, value in result[split].items()}
    for word in ("Training:", "epoch", "metrics.jsonl", "MIRACLE", "capsule"):
        assert word not in card, word


@pytest.mark.parametrize("kind", KINDS)
def test_training_prints_the_result_as_json(
    runs: Path, tmp_path: Path, capsys: Capture, kind: str
) -> None:
    tiny_shop(tmp_path / "data")
    result = shown(capsys, *train(tmp_path, kind))
    assert result == json.loads((tmp_path / kind / "result.json").read_text())
    # The same settings and data give the same run.
    weights = [load_tensors(folder / kind / "model.safetensors")[0] for folder in (runs, tmp_path)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert main(["train", "--out", str(tmp_path / kind), "--resume"]) == 0
    said = capsys.readouterr()
    assert "best epoch" not in said.out + said.err
    assert f"next: miracle evaluate {tmp_path / kind}" in said.err
    again = json.loads((tmp_path / kind / "result.json").read_text())
    assert {**again, "seconds": 0} == {**result, "seconds": 0}


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_says_what_training_said(runs: Path, capsys: Capture, kind: str) -> None:
    result = json.loads((runs / kind / "result.json").read_text())
    for split in ("valid", "test"):
        found = shown(capsys, "evaluate", runs / kind, "--split", split)
        assert found["metrics"] == result[split]
        assert (found["model"], found["weights"]) == (kind, "best")
        assert (found["seen"], found["trained_seen"]) == (result["seen"], result["seen"])
        assert not keys(found) & OWN_OF_CAPSULES
        assert "interests" not in found
        if kind == "popularity":
            assert found["references"]["popularity"] == pytest.approx(found["metrics"])
    assert main(["evaluate", str(runs / kind)]) == 0
    out = capsys.readouterr().out
    assert "fitted to the training part" in out
    assert "capsules" not in out


@pytest.mark.parametrize("kind", KINDS)
def test_recommend_shows_a_list_and_no_interests(runs: Path, capsys: Capture, kind: str) -> None:
    history = ["--item", "I03", "--item", "I09"]
    found = shown(capsys, "recommend", runs / kind, *history, "--top-k", "5")
    assert not keys(found) & OWN_OF_CAPSULES
    assert (found["model"], found["user"], found["held_out"]) == (kind, None, None)
    assert [own["item_id"] for own in found["history"]] == ["I03", "I09"]
    expected = Recommender.load(runs / kind).recommend([3, 9], 5)
    assert [item["item_id"] for item in found["items"]] == [i.item_id for i in expected.items]
    assert [item["rank"] for item in found["items"]] == [1, 2, 3, 4, 5]
    for item in found["items"]:
        assert item["repeat"] == 0.0
        if kind == "textknn":  # the nearest history item contributes the whole score
            assert sorted(item["contributions"]) == pytest.approx([0.0, item["score"]], abs=1e-6)
        else:
            assert item["contributions"] == []
    assert main(["recommend", str(runs / kind), *history]) == 0
    out = capsys.readouterr().out
    for word in ("capsule", "interest", "strength", "wakes", "None"):
        assert word not in out, word
    assert ("adds to the first" in out) == (kind == "textknn")
    assert TITLES[9] in out


@pytest.mark.parametrize("kind", KINDS)
def test_a_held_out_item_is_ranked(runs: Path, capsys: Capture, kind: str) -> None:
    found = shown(capsys, "recommend", runs / kind, "--user", "user-7", "--held-out")
    table = Recommender.load(runs / kind).users()
    assert found["held_out"]["rank"] == table.ranks[7] > 0
    assert main(["recommend", str(runs / kind), "--user", "user-7", "--held-out"]) == 0
    assert f"rank      {table.ranks[7]}\n" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_shows_ranks_in_place_of_capsules(runs: Path, capsys: Capture, kind: str) -> None:
    found = shown(capsys, "inspect", runs / kind, "--user", "user-12", "--user", "user-0")
    assert not keys(found) & OWN_OF_CAPSULES
    assert (found["model"], found["dataset"]) == (kind, "tiny")
    dataset, table = Dataset.open(runs / "data"), Recommender.load(runs / kind).users()
    target = f"I{dataset.sequence(12)[-1]:02}"
    rank = int(table.ranks[12]) or None
    # An item has a rank exactly if it is a candidate.
    assert (rank is None) == (kind == "textknn" and target in ids(dataset, 12)[:-1])
    assert found["users"] == [
        {"user_id": "user-12", "length": 11, "held_out": target, "rank": rank},
        {"user_id": "user-0", "length": 1, "held_out": None, "rank": None},
    ]
    assert main(["inspect", str(runs / kind)]) == 0
    out = capsys.readouterr().out
    assert "rank of the held-out item" in out and "none held out" in out
    assert ("left out" in out) == (kind == "textknn")
    assert "9,223" not in out and "capsule" not in out
    figure = runs / "figure.png"
    assert main(["inspect", str(runs / kind), "--figure", str(figure)]) == 2
    assert f"{kind} has no capsules to draw" in capsys.readouterr().err
    assert not figure.exists()


def ids(dataset: Dataset, user: int) -> list[str]:
    return [f"I{item:02}" for item in dataset.sequence(user).tolist()]


def test_popularity_ranks_by_counts_of_the_training_part(runs: Path) -> None:
    dataset = Dataset.open(runs / "data")
    counts: dict[int, int] = {}
    for user in range(dataset.n_users):
        items = dataset.sequence(user).tolist()
        for item in items[:-2] if len(items) >= 3 else items:
            counts[item] = counts.get(item, 0) + 1
    found = Recommender.load(runs / "popularity").recommend([0], 30)
    assert {item.item: item.score for item in found.items} == {
        item: counts.get(item, 0) for item in range(dataset.n_items)
    }
    scores = [item.score for item in found.items]
    assert scores == sorted(scores, reverse=True)


def test_a_random_order_follows_from_the_seed(tmp_path: Path) -> None:
    tiny_shop(tmp_path / "data")
    orders = {}
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(train(tmp_path, "random", "--seed", seed, out=name)) == 0
        found = Recommender.load(tmp_path / name).recommend([0], 30)
        orders[name] = [item.item for item in found.items]
        assert sorted(orders[name]) == list(range(30))
    assert orders["a"] == orders["b"] != orders["c"]


def test_nearness_of_text_reads_new_titles_and_other_catalogues(
    runs: Path, tmp_path: Path, capsys: Capture
) -> None:
    new = shown(capsys, "recommend", runs / "textknn", "--title", "a red PLA filament spool")
    assert new["history"][0]["match"] == "new"
    assert "Filament" in new["items"][0]["title"]
    other = other_shop(tmp_path / "other")
    found = shown(capsys, "evaluate", runs / "textknn", "--data", other.folder)
    assert found["zero_shot"] and found["dataset"] == "other"
    assert found["references"]["text"] == pytest.approx(found["metrics"])
    there = shown(capsys, "recommend", runs / "textknn", "--data", other.folder, "--user", "o3")
    assert (there["dataset"], there["user"]) == ("other", "o3")
    looked = shown(capsys, "inspect", runs / "textknn", "--data", other.folder, "--user", "o3")
    assert (looked["dataset"], looked["users"][0]["length"]) == ("other", 4)


@pytest.mark.parametrize("kind", ["popularity", "random"])
def test_what_knows_items_by_count_alone_knows_no_others(
    runs: Path, tmp_path: Path, capsys: Capture, kind: str
) -> None:
    other = other_shop(tmp_path / "other")
    for command in (["evaluate"], ["inspect"], ["recommend", "--user", "o3"]):
        name, *rest = command
        assert main([name, str(runs / kind), "--data", str(other.folder), *rest]) == 2
        assert "another catalogue" in capsys.readouterr().err
    assert main(["recommend", str(runs / kind), "--title", "something new"]) == 2
    assert "'something new' is new" in capsys.readouterr().err


def test_without_text_what_needs_none_is_trained(tmp_path: Path, capsys: Capture) -> None:
    data = tiny_shop(tmp_path / "data")
    manifest = json.loads((data.folder / "manifest.json").read_text())
    manifest["features"] = {}
    (data.folder / "manifest.json").write_text(json.dumps(manifest))
    for kind in ("popularity", "random"):
        assert main(train(tmp_path, kind)) == 0
        assert shown(capsys, "recommend", tmp_path / kind, "--item", "I03")["items"]
        assert shown(capsys, "evaluate", tmp_path / kind)["users"] == 11


def test_several_seeds(runs: Path, capsys: Capture, tmp_path: Path) -> None:
    tiny_shop(tmp_path / "data")
    summary = shown(capsys, *train(tmp_path, "random", "--seeds", "2", out="seeds"))
    assert summary["seeds"] == [2023, 2024]
    first = json.loads((runs / "random" / "result.json").read_text())
    assert summary["runs"][0]["test"] == first["test"] != summary["runs"][1]["test"]
