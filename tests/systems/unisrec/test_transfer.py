"""UniSRec's transfer learning: the same commands and guarantees as MIRACLE's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from miracle_cli.main import main
from miracle_core.config import Settings, make_settings
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.recommender import NewTitle, Recommender
from miracle_core.runs.tensors import load_tensors
from miracle_core.training.pretraining import pretrain
from tests.support.runs import other_shop, tiny_shop
from tests.training.test_resume import assert_same_run, stop_at

Capture = pytest.CaptureFixture[str]
SMALL = {"kind": "unisrec", "width": 8, "inner": 8, "experts": 2, "layers": 1, "max_length": 6}


def settings_of(folder: Path, **train: Any) -> Settings:
    """Pre-training on two shops, with dropout and noise."""
    quick = {"batch_size": 8, "learning_rate": 0.01, "epochs": 2, **train}
    domains = [str(folder / "a"), str(folder / "b")]
    return make_settings({"datasets": domains, "model": SMALL, "train": quick})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained run at ``run``, its Datasets ``a`` and ``b``, and ``new``."""
    folder, threads = tmp_path_factory.mktemp("unisrec"), torch.get_num_threads()
    torch.set_num_threads(1)
    tiny_shop(folder / "a")
    other_shop(folder / "b")
    other_shop(folder / "new", items=25, users=14, name="new")
    pretrain(settings_of(folder), folder / "run")
    torch.set_num_threads(threads)
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_tensors(run / "model.safetensors")[0]


def test_pretraining_says_both_contrasts_and_each_domain(folder: Path) -> None:
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2
    for record in map(json.loads, lines):
        train = record["train"]
        total = train["recommendation"] + 0.001 * train["contrast"]
        assert train["loss"] == pytest.approx(total, rel=1e-5)
        assert train["contrast"] > 0
        assert list(record["domains"]) == ["tiny", "other"]
    assert "mask" not in weights(folder / "run")
    assert "pre-trained on tiny, other" in (folder / "run" / "README.md").read_text()


def test_stopped_and_resumed_it_ends_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    pretrain(settings_of(folder), tmp_path / "run", should_stop=stop_at(5))
    pretrain(settings_of(folder), tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", folder / "run")


@pytest.mark.parametrize("mode", ["transductive", "inductive"])
def test_only_the_adaptor_learns_from_a_pretrained_run_unless_said(
    folder: Path, tmp_path: Path, capsys: Capture, mode: str
) -> None:
    words = ["finetune", "--from", str(folder / "run"), "--data", str(folder / "new")]
    quick = ["--mode", mode, "--epochs", "2", "--batch-size", "8", "--learning-rate", "0.01"]
    assert main([*words, *quick, "--out", str(tmp_path / "frozen")]) == 0
    said = capsys.readouterr().err
    assert "trained on tiny, other" in said and "frozen (13): context.layers" in said
    report = json.loads((tmp_path / "frozen" / "result.json").read_text())["transfer"]
    before, after = weights(folder / "run"), weights(tmp_path / "frozen")
    assert set(report["loaded"]) == before.keys() and report["left_out"] == []
    assert report["new"] == (["identity"] if mode == "transductive" else [])
    layers = {name for name in before if name.startswith("context.layers.")}
    assert layers and set(report["frozen"]) == layers | {"context.position"}
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == set(report["frozen"])
    assert main([*words, *quick, "--no-freeze", "--out", str(tmp_path / "free")]) == 0
    free = weights(tmp_path / "free")
    assert not [name for name in before if torch.equal(before[name], free[name])]


def test_from_a_run_of_another_system_is_refused(folder: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["finetune", "--from", str(folder / "run"), "--data", str(folder / "new")]
    assert main([*words, "--model", "miracle", "--out", str(tmp_path / "x")]) == 2
    assert "say --model unisrec" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_over_a_catalogue_it_never_saw(folder: Path, capsys: Capture) -> None:
    run, new = folder / "run", folder / "new"
    found = evaluate_run(run, new)
    assert found.zero_shot
    recommender = Recommender.load(run, data=new)
    assert recommender.mode == "inductive"
    assert recommender.abilities.new_titles and not recommender.abilities.capsules
    for user, rank in zip(found.found.users.tolist(), found.found.ranks.tolist(), strict=True):
        asked = ["recommend", str(run), "--data", str(new), "--user", f"o{user}", "--held-out"]
        capsys.readouterr()
        assert main([*asked, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert (answer["model"], answer["dataset"]) == ("unisrec", "new")
        assert answer["held_out"]["rank"] == rank
        assert answer["additive"] is False
    expected = recommender.recommend([recommender.item("I29"), NewTitle("a brass screw")], 4)
    typed = ["--item", "I29", "--title", "a brass screw", "--top-k", "4", "--json"]
    assert main(["recommend", str(run), "--data", str(new), *typed]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [item["item_id"] for item in answer["items"]] == [i.item_id for i in expected.items]
    assert answer["history"][1]["match"] == "new"
    assert main(["inspect", str(run), "--data", str(new), "--user", "o3"]) == 0
    assert "rank of the held-out item" in capsys.readouterr().out


def test_a_recipe_of_it(folder: Path, tmp_path: Path) -> None:
    """Pre-training, fine-tuning and an evaluation in one file, as for MIRACLE."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"""
[model]
kind = "unisrec"
width = 8
inner = 8
experts = 2
layers = 1
max_length = 6

[train]
batch_size = 8
epochs = 1

[[stage]]
kind = "pretrain"
datasets = ["{folder / "a"}", "{folder / "b"}"]

[[stage]]
kind = "finetune"
data = "{folder / "new"}"

[[stage]]
kind = "evaluate"
"""
    )
    assert main(["train", str(recipe), "--out", str(tmp_path / "out")]) == 0
    stages = json.loads((tmp_path / "out" / "result.json").read_text())["stages"]
    assert [stage["kind"] for stage in stages] == ["pretrain", "finetune", "evaluate"]
    assert "context.position" in stages[1]["transfer"]["frozen"]
