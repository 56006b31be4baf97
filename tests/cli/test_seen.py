"""``--seen as-printed|leave-out|gain`` in every command that trains or ranks."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miracle_cli.main import main
from miracle_core.data.packed import pack_lists
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.evaluation.metrics import UNRANKED
from miracle_core.ranking.order import tie_order
from miracle_core.recommender import Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import TrainedRun, load_run
from miracle_core.systems.miracle.miracle import Miracle
from tests.reference import metrics
from tests.support.runs import MAX_LENGTH, SMALL_MODEL, tiny_shop

Capture = pytest.CaptureFixture[str]
RULES = ("as-printed", "leave-out", "gain")
QUICK = [f"--set={name}={value}" for name, value in SMALL_MODEL.items()]
QUICK += ["--batch-size", "8", "--epochs", "2", "--learning-rate", "0.05", "--threads", "1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MIRACLE run trained with each seen rule, under the rule's name. Treat as read-only."""
    folder, threads = tmp_path_factory.mktemp("seen"), torch.get_num_threads()
    tiny_shop(folder / "data")
    for rule in RULES:
        assert main(train(folder, rule, "--seen", rule)) == 0
    torch.set_num_threads(threads)
    return folder


def train(folder: Path, name: str, *options: str) -> list[str]:
    return ["train", "--data", str(folder / "data"), "--out", str(folder / name), *QUICK, *options]


def shown(capsys: Capture, *args: str | Path) -> Any:
    capsys.readouterr()
    assert main([*map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def plain_ranks(run: TrainedRun, rule: str, split: str) -> dict[int, int]:
    """Ranks of the held-out items by user, from sorted lists of scores; 0 means left out."""
    model, dataset, found = run.system, run.dataset, {}
    assert isinstance(model, Miracle)
    key = tie_order(dataset.n_items).tolist()
    with torch.inference_mode():
        x = model.inputs(run.items)
        candidates = model.candidates(x)
        for user in range(dataset.n_users):
            items = dataset.sequence(user).tolist()
            if len(items) < 3:
                continue
            own = items if split == "test" else items[:-1]
            history, target = own[:-1], own[-1]
            read = history[-MAX_LENGTH:]
            packed = pack_lists([read], MAX_LENGTH)
            interests = model.encode(x[torch.tensor(read)], packed).interests.vectors
            scores = (candidates @ interests.T).amax(1).double().tolist()
            if rule == "gain":
                gain = model.gain()
                assert gain is not None
                for item in set(read):
                    scores[item] += float(gain)
            if rule == "leave-out":  # the whole history, including items too old to be read
                scores = [-np.inf if i in history else s for i, s in enumerate(scores)]
            gone = rule == "leave-out" and target in history
            found[user] = 0 if gone else metrics.rank_of(scores, target, key)
    return found


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("rule", RULES)
def test_ranks_are_those_of_sorting_by_hand(runs: Path, rule: str, split: Any) -> None:
    run = load_run(runs / "gain")
    expected = plain_ranks(run, rule, split)
    assert len(set(expected.values())) > 3
    found = evaluate_run(runs / "gain", split=split, seen=rule).found  # type: ignore[arg-type]
    ranks = np.where(found.ranks == UNRANKED, 0, found.ranks)
    assert dict(zip(found.users.tolist(), ranks.tolist(), strict=True)) == expected
    if (rule, split) == ("leave-out", "test"):  # some held-out items had been taken before
        assert 0 in expected.values()


def test_the_rules_differ(runs: Path) -> None:
    """Otherwise a command that ignores the option would pass the tests."""
    run = load_run(runs / "gain")
    ranks = [tuple(plain_ranks(run, rule, "test").values()) for rule in RULES]
    assert len(set(ranks)) == 3


@pytest.mark.parametrize("rule", RULES)
def test_a_run_learns_and_validates_by_its_rule(runs: Path, capsys: Capture, rule: str) -> None:
    run = load_run(runs / rule)
    assert (run.system.gain() is not None) == (rule == "gain")
    config = tomllib.loads((runs / rule / "config.toml").read_text())
    assert config["seen"] == rule
    result = RunFolder(runs / rule).read_result()
    assert result is not None and result["seen"] == rule
    for split in ("valid", "test"):
        ranks = [rank or 10**6 for rank in plain_ranks(run, rule, split).values()]
        for k in (10, 50):
            assert result[split][f"recall@{k}"] == pytest.approx(metrics.recall_at(ranks, k))
            assert result[split][f"ndcg@{k}"] == pytest.approx(metrics.ndcg_at(ranks, k))
    words = {
        "as-printed": "candidates like any other, as the paper ranks",
        "leave-out": "left out of the candidates",
        "gain": "their scores gain a learned number",
    }
    assert words[rule] in (runs / rule / "README.md").read_text()
    # Without --seen, every command ranks by the rule of the training.
    found = shown(capsys, "evaluate", runs / rule)
    assert (found["seen"], found["trained_seen"]) == (rule, rule)
    assert found["exclude_seen"] == (rule == "leave-out")
    assert found["metrics"] == result["test"]
    assert shown(capsys, "recommend", runs / rule, "--item", "I03")["seen"] == rule
    ranks = Recommender.load(runs / rule).users().ranks
    assert {u: int(ranks[u]) for u in plain_ranks(run, rule, "test")} == plain_ranks(
        run, rule, "test"
    )


@pytest.mark.parametrize("trained", RULES)
@pytest.mark.parametrize("rule", ["as-printed", "leave-out"])
def test_another_rule_can_be_asked_for(
    runs: Path, capsys: Capture, trained: str, rule: str
) -> None:
    run = load_run(runs / trained)
    expected = plain_ranks(run, rule, "test")
    found = shown(capsys, "evaluate", runs / trained, "--seen", rule)
    assert (found["seen"], found["trained_seen"]) == (rule, trained)
    ranks = [rank or 10**6 for rank in expected.values()]
    assert found["metrics"]["ndcg@50"] == pytest.approx(metrics.ndcg_at(ranks, 50))
    for user, rank in expected.items():
        args = ["--user", f"user-{user}", "--held-out", "--top-k", "99"]
        answer = shown(capsys, "recommend", runs / trained, *args, "--seen", rule)
        assert answer["seen"] == rule
        assert answer["held_out"]["rank"] == rank
        listed = {item["item_id"] for item in answer["items"]}
        history = {item["item_id"] for item in answer["history"]}
        assert len(listed) == 30 - (len(history) if rule == "leave-out" else 0)
        assert not listed & history if rule == "leave-out" else history <= listed
        assert all(item["repeat"] == 0.0 for item in answer["items"])


def test_exclude_seen_is_short_for_leave_out(runs: Path, capsys: Capture) -> None:
    for command in (["evaluate"], ["recommend", "--item", "I05"]):
        name, *rest = command
        long = shown(capsys, name, runs / "gain", *rest, "--seen", "leave-out")
        short = shown(capsys, name, runs / "gain", *rest, "--exclude-seen")
        for found in (long, short):
            found.pop("seconds", None)
        assert long == short
        assert main([name, str(runs / "gain"), *rest, "--exclude-seen", "--seen", "gain"]) == 2
        assert "--exclude-seen is --seen leave-out" in capsys.readouterr().err


def test_inspect_takes_the_rule(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    """Capsules do not depend on the rule; ranks of a system without capsules do."""
    one, other = (
        shown(capsys, "inspect", runs / "gain", "--seen", rule) for rule in ("gain", "leave-out")
    )
    assert one == other
    tiny_shop(tmp_path / "data")
    command = ["train", "--model", "popularity", "--data", str(tmp_path / "data"), "--out"]
    assert main([*command, str(tmp_path / "run")]) == 0
    for rule in ("as-printed", "leave-out"):
        found = shown(capsys, "inspect", tmp_path / "run", "--seen", rule)
        assert found["seen"] == rule
        ranks = evaluate_run(tmp_path / "run", seen=rule).found  # type: ignore[arg-type]
        told = {row["user_id"]: row["rank"] for row in found["users"]}
        for user, rank in zip(ranks.users.tolist(), ranks.ranks.tolist(), strict=True):
            if f"user-{user}" in told:
                assert told[f"user-{user}"] == (None if rank == UNRANKED else rank)
    assert "left out" in _said(capsys, "inspect", tmp_path / "run", "--seen", "leave-out")


def _said(capsys: Capture, *args: str | Path) -> str:
    capsys.readouterr()
    assert main([*map(str, args)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("trained", ["as-printed", "leave-out"])
def test_a_gain_that_was_not_learned_is_refused(runs: Path, capsys: Capture, trained: str) -> None:
    capsys.readouterr()
    for command in (["evaluate"], ["recommend", "--item", "I03"], ["inspect"]):
        name, *rest = command
        assert main([name, str(runs / trained), *rest, "--seen", "gain"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "has learned no gain" in said.err
        assert "choose as-printed or leave-out" in said.err


@pytest.mark.parametrize("kind", ["popularity", "random", "textknn"])
def test_what_learns_nothing_learns_no_gain(tmp_path: Path, capsys: Capture, kind: str) -> None:
    data = str(tiny_shop(tmp_path / "data").folder)
    command = ["train", "--model", kind, "--data", data, "--out", str(tmp_path / "run")]
    assert main([*command, "--seen", "gain"]) == 2
    said = capsys.readouterr()
    assert f"{kind} learns no gain: choose seen as-printed or leave-out" in said.err
    assert said.out == "" and not (tmp_path / "run").exists()
    assert main([*command, "--seen", "leave-out"]) == 0
    result = RunFolder(tmp_path / "run").read_result()
    assert result is not None and result["seen"] == "leave-out"
    found = evaluate_run(tmp_path / "run")
    assert found.found.metrics == result["test"]
    assert found.found.metrics != evaluate_run(tmp_path / "run", seen="as-printed").found.metrics


@pytest.mark.parametrize("command", ["train", "evaluate", "recommend", "inspect"])
def test_an_unknown_rule_is_told(runs: Path, capsys: Capture, command: str) -> None:
    capsys.readouterr()
    options = {
        "train": ["--data", str(runs / "data"), "--out", str(runs / "none")],
        "recommend": [str(runs / "gain"), "--item", "I03"],
    }.get(command, [str(runs / "gain")])
    assert main([command, *options, "--seen", "leave out"]) == 2
    said = capsys.readouterr()
    assert "is not a seen rule" in said.err and "as-printed, leave-out, gain" in said.err
    assert said.out == "" and not (runs / "none").exists()


def test_resuming_keeps_the_rule(runs: Path, capsys: Capture) -> None:
    capsys.readouterr()
    command = ["train", "--out", str(runs / "leave-out"), "--resume", "--seen"]
    assert main([*command, "leave-out"]) == 0
    assert main([*command, "gain"]) == 2
    assert "seen is 'gain', but the run was begun with 'leave-out'" in capsys.readouterr().err
