"""A system that reads histories from left to right, through all commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from miracle_cli.main import main
from miracle_core.recommender import Recommender
from tests.support.runs import tiny_shop

Capture = pytest.CaptureFixture[str]
SMALL = ["--set", "model.width=8", "--set", "model.hidden=8", "--epochs", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sequences")
    tiny_shop(folder / "data")
    asked = ["train", "--model", "gru4rec", "--data", folder / "data", "--out", folder / "run"]
    loss = ["--set", "loss.recommendation=gbce", "--set", "loss.negatives=7"]
    assert main([*map(str, asked), *SMALL, *loss]) == 0
    return folder / "run"


def shown(capsys: Capture, *args: str | Path) -> Any:
    capsys.readouterr()
    assert main([*map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_recommend_says_what_the_score_loses_without_each_item(run: Path, capsys: Capture) -> None:
    history = ("--item", "I03", "--item", "I11", "--item", "I07")
    found = shown(capsys, "recommend", run, *history)
    assert found["additive"] is False
    best = found["items"][0]
    assert len(best["contributions"]) == 3
    recommender = Recommender.load(run)
    item = recommender.item(best["item_id"])

    def score(*items: int) -> float:
        target = recommender.recommend(list(items), target=item).target
        assert target is not None
        return target.score - target.repeat

    whole = score(3, 11, 7)
    expected = [whole - score(11, 7), whole - score(3, 7), whole - score(3, 11)]
    assert best["contributions"] == pytest.approx(expected, abs=1e-5)
    assert main(["recommend", str(run), *history]) == 0
    assert "without it the first loses" in capsys.readouterr().out


def test_a_run_is_evaluated_and_names_its_loss(run: Path, capsys: Capture) -> None:
    found = shown(capsys, "evaluate", run)
    assert found["model"] == "gru4rec"
    assert 'recommendation = "gbce"' in (run / "config.toml").read_text()


def test_more_negatives_than_items_are_refused_in_words(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    asked = ["train", "--model", "sasrec", "--data", str(run.parent / "data")]
    loss = ["--set", "loss.recommendation=bpr", "--set", "loss.negatives=30"]
    assert main([*asked, "--out", str(tmp_path / "run"), *loss]) == 2
    said = capsys.readouterr().err
    assert "30 negatives are more than the 29 items that can be one" in said
    assert "set loss.negatives to 29 or less" in said
    assert not (tmp_path / "run").exists()
