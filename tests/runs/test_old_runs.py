"""Runs from when MIRACLE was the only system can be evaluated, queried, resumed and reused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from miracle_cli.main import main
from miracle_core.config import Settings, load_settings, make_settings, nested
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.recommender import Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import load_run
from miracle_core.runs.tensors import load_tensors
from miracle_core.training.finetuning import finetune
from miracle_core.training.pretraining import pretrain
from miracle_core.training.transfer import settings_from
from tests.support.old_runs import make_old
from tests.support.runs import other_shop
from tests.training.support import pretrain_settings, quick_settings, same_tensors
from tests.training.test_resume import stop_at

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module", params=["gain", "as-printed"])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at ``new``, and the same run in the old format at ``old``. Treat as read-only."""
    folder, threads = tmp_path_factory.mktemp("old"), torch.get_num_threads()
    torch.set_num_threads(1)
    settings = quick_settings(folder / "data", seen=request.param, train__epochs=2)
    finetune(settings, folder / "new")
    torch.set_num_threads(threads)
    shutil.copytree(folder / "new", folder / "old")
    make_old(folder / "old")
    return folder


def test_the_old_form_is_old(runs: Path) -> None:
    """Otherwise the other tests would prove nothing."""
    config = (runs / "old" / "config.toml").read_text()
    assert "repeat = " in config and "[loss]" in config and "kernels" in config
    assert "kind" not in config and "seen" not in config
    for file in (RunFolder(runs / "old").weights, RunFolder(runs / "old").state):
        assert "kind" not in load_tensors(file)[1]
    assert '"capsules": {"in_use"' in (runs / "old" / "metrics.jsonl").read_text()


def test_it_has_the_settings_and_records_of_today(runs: Path) -> None:
    old, new = RunFolder(runs / "old"), RunFolder(runs / "new")
    assert old.settings() == new.settings()
    assert old.history() == new.history()
    assert old.history()[0]["figures"].keys() == {"capsules_in_use", "capsules_per_user"}


def test_it_evaluates_and_recommends_the_same(runs: Path, capsys: Capture) -> None:
    for which in ("best", "last"):
        old, new = (load_run(runs / name, weights=which) for name in ("old", "new"))
        assert old.spec.name == "miracle"
        assert old.epoch == new.epoch
        both = old.system.state_dict(), new.system.state_dict()
        assert all(torch.equal(both[0][name], both[1][name]) for name in both[1])
    found = []
    for name in ("old", "new"):
        summary = evaluate_run(runs / name).summary()
        summary.pop("seconds")
        recommender = Recommender.load(runs / name)
        found.append((summary, recommender.recommend([3, 14, 15]).items, recommender.capsules()))
    assert found[0] == found[1]
    for command in (["evaluate"], ["recommend", "--item", "I03"], ["inspect"]):
        name, *rest = command
        assert main([name, str(runs / "old"), *rest]) == 0
    gain = load_run(runs / "old").settings.seen == "gain"
    assert main(["evaluate", str(runs / "old"), "--seen", "gain"]) == (0 if gain else 2)


def test_one_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=3)
    finetune(settings, tmp_path / "whole")
    for name, stop in (("within", 7), ("at its end", 10)):
        run = RunFolder(tmp_path / name)
        finetune(settings, run.path, should_stop=stop_at(stop))
        make_old(run.path)
        finetune(settings, run.path, resume=True)
        assert same_tensors(run.weights, RunFolder(tmp_path / "whole").weights)
        assert same_tensors(run.state, RunFolder(tmp_path / "whole").state)
        lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [1, 2, 3]
        assert all("figures" in line and "capsules" not in line for line in lines)


def test_a_pretrained_one_is_built_upon(tmp_path: Path) -> None:
    settings = pretrain_settings(tmp_path, train__epochs=1)
    pretrain(settings, tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    make_old(tmp_path / "old")
    data = other_shop(tmp_path / "third", items=25, name="third").folder
    metrics = [evaluate_run(tmp_path / name, data).found.metrics for name in ("old", "new")]
    assert metrics[0] == metrics[1]
    for name in ("old", "new"):
        finetune(tuned(tmp_path / name, data), tmp_path / f"from-{name}")
    assert same_tensors(*(tmp_path / f"from-{n}" / "model.safetensors" for n in ("old", "new")))


def tuned(run: Path, data: Path) -> Settings:
    given = {"data": str(data), "train.epochs": 1, "train.batch_size": 8}
    return make_settings(settings_from(run), nested(given))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('[train]\nkernels = "triton"\n', "the Triton kernels were slower and are gone"),
        ("[train]\ncompile = true\n", "compiling layers gained nothing and is gone"),
        ("[loss]\ncoverag = 1.0\n", "there is no setting 'coverag'"),
        ("[loss]\ncontrast = 0.1\n[model]\ncontrast = 0.2\n", "is given as model.contrast too"),
        ('seen = "gain"\n[model]\nrepeat = true\n', "is given as seen too"),
        ("[model]\nrepeat = 1\n", "there is no setting 'repeat'"),
    ],
)
def test_what_can_not_be_done_any_more_is_told(tmp_path: Path, line: str, says: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(line)
    with pytest.raises(Exception, match=says) as caught:
        load_settings(config)
    told: Any = caught.value
    assert str(config) in told.where
