"""Query a pre-trained run over a catalogue that it never saw: ``recommend|inspect --data``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miracle_cli.main import main
from miracle_core.data.dataset import Dataset
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.recommender import NewTitle, Recommender
from miracle_core.training.pretraining import pretrain
from tests.support.runs import other_shop, reencode, tiny_run
from tests.training.support import pretrain_settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained run at ``run``, and Datasets at ``a``, ``b`` (its own) and ``new``."""
    folder, threads = tmp_path_factory.mktemp("zero"), torch.get_num_threads()
    torch.set_num_threads(1)
    pretrain(pretrain_settings(folder, train__epochs=1), folder / "run")
    torch.set_num_threads(threads)
    other_shop(folder / "new", items=25, users=14, name="new")
    return folder


def shown(capsys: Capture, *args: str | Path) -> Any:
    capsys.readouterr()
    assert main([*map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_ranks_are_those_of_the_zero_shot_evaluation(folder: Path, capsys: Capture) -> None:
    run, new = folder / "run", folder / "new"
    found = evaluate_run(run, new)
    assert found.zero_shot
    ranks = dict(zip(found.found.users.tolist(), found.found.ranks.tolist(), strict=True))
    assert len(ranks) == 14
    titles = Dataset.open(new).items["title"].to_list()
    for user, rank in ranks.items():
        asked = ["--data", str(new), "--user", f"o{user}", "--held-out", "--top-k", "25"]
        answer = shown(capsys, "recommend", run, *asked)
        assert (answer["model"], answer["dataset"]) == ("miracle", "new")
        assert answer["held_out"]["rank"] == rank
        assert sorted(item["title"] for item in answer["items"]) == sorted(titles)
        assert answer["capsules"] and len(answer["history"]) == 4


def test_the_interface_of_python_says_the_same(folder: Path, capsys: Capture) -> None:
    recommender = Recommender.load(folder / "run", data=folder / "new")
    assert recommender.dataset.name == "new" and recommender.mode == "inductive"
    assert recommender.abilities.capsules and recommender.abilities.new_titles
    answer = shown(
        *(capsys, "recommend", folder / "run", "--data", folder / "new"),
        *("--item", "I29", "--title", "a brass screw", "--top-k", "4"),
    )
    expected = recommender.recommend([recommender.item("I29"), NewTitle("a brass screw")], 4)
    assert [item["item_id"] for item in answer["items"]] == [i.item_id for i in expected.items]
    assert answer["history"][1]["match"] == "new"


def test_capsules_are_told_by_the_new_catalogue(folder: Path, capsys: Capture) -> None:
    run, new = folder / "run", folder / "new"
    found = shown(capsys, "inspect", run, "--data", new, "--user", "o3")
    ids = set(Dataset.open(new).items["item_id"].to_list())
    assert found["dataset"] == "new"
    assert sum(c["share"] for c in found["capsules"]) == pytest.approx(1)
    assert {item["item_id"] for c in found["capsules"] for item in c["items"]} <= ids
    assert [user["user_id"] for user in found["users"]] == ["o3"]
    recommender = Recommender.load(run, data=new)
    assert np.bincount(recommender.item_capsules(), minlength=4).tolist() == [
        round(c["share"] * 25) for c in found["capsules"]
    ]
    own = shown(capsys, "inspect", run, "--data", folder / "a")
    assert own["dataset"] == "tiny"
    assert main(["inspect", str(run), "--data", str(new)]) == 0
    assert "capsules that a user's items activate" in capsys.readouterr().out


@pytest.mark.parametrize("seen", ["as-printed", "leave-out"])
def test_a_seen_rule_can_be_asked_for(folder: Path, capsys: Capture, seen: str) -> None:
    asked = ["--data", folder / "new", "--user", "o3", "--top-k", "25", "--seen", seen]
    answer = shown(capsys, "recommend", folder / "run", *asked)
    history = {item["item_id"] for item in answer["history"]}
    listed = {item["item_id"] for item in answer["items"]}
    assert len(listed) == 25 - (len(history) if seen == "leave-out" else 0)


@pytest.mark.parametrize("command", ["recommend", "inspect", "evaluate"])
def test_without_a_dataset_or_with_one_that_can_not_be_read(
    folder: Path, tmp_path: Path, capsys: Capture, command: str
) -> None:
    rest = ["--user", "o3"] if command == "recommend" else []
    other = reencode(other_shop(tmp_path / "other"), name="bert", width=31)
    transductive = tiny_run(tmp_path)
    renamed = other_shop(tmp_path / "renamed", items=30, domain="renamed").folder
    for run, more, says in (
        (folder / "run", [], "name one: --data DATA"),
        (folder / "run", ["--data", str(tmp_path / "nowhere")], "not a Dataset folder"),
        (folder / "run", ["--data", str(other.folder)], "the run reads those of 'hashing:32'"),
        (transductive, ["--data", str(folder / "new")], f"miracle update {transductive} --data"),
        (transductive, ["--data", str(renamed)], "make it again with --name "),
    ):
        capsys.readouterr()
        assert main([command, str(run), *more, *rest]) == 2
        said = capsys.readouterr()
        assert says in said.err and said.out == ""


def test_new_users_of_the_runs_own_catalogue(tmp_path: Path, capsys: Capture) -> None:
    """A transductive run knows the items, so it can serve users it never saw."""
    run = tiny_run(tmp_path)
    users = other_shop(tmp_path / "users", items=30).folder
    answer = shown(capsys, "recommend", run, "--data", users, "--user", "o3", "--held-out")
    assert (answer["dataset"], len(answer["history"])) == ("other", 4)
    found = evaluate_run(run, users).found
    place = found.users.tolist().index(3)
    assert answer["held_out"]["rank"] == found.ranks[place]
