"""Runs that are moved with the files they refer to, and runs from before relative paths."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import torch

from miracle_cli.main import main
from miracle_core.config import load_settings
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.runs.folder import RunFolder
from miracle_core.training.finetuning import finetune
from miracle_core.training.pretraining import pretrain
from tests.training.support import pretrain_settings, quick_settings, same_tensors
from tests.training.test_resume import stop_at


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with Datasets, a stopped pre-training and a run that started from one."""
    folder, threads = tmp_path_factory.mktemp("moving") / "project", torch.get_num_threads()
    folder.mkdir()
    torch.set_num_threads(1)
    settings = pretrain_settings(folder, train__epochs=2)
    pretrain(settings, folder / "runs" / "whole")
    pretrain(settings, folder / "runs" / "stopped", should_stop=stop_at(10))
    start = {"pretrained": str(folder / "runs" / "whole"), "train__mode": "inductive"}
    finetune(quick_settings(folder / "a", train__epochs=1, **start), folder / "runs" / "tuned")
    torch.set_num_threads(threads)
    return folder


def test_no_file_of_a_run_tells_where_it_was_made(project: Path) -> None:
    looked = 0
    for path in (project / "runs").rglob("*"):
        if path.is_file() and "tensorboard" not in path.parts:
            assert str(project.parent).encode() not in path.read_bytes(), path
            looked += 1
    assert looked > 20
    values = tomllib.loads((project / "runs" / "tuned" / "config.toml").read_text())
    assert (values["data"], values["pretrained"]) == ("../../a", "../whole")


def test_a_project_that_is_moved_goes_on(project: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(project, moved)
    runs = moved / "runs"
    settings = RunFolder(runs / "stopped").settings()
    assert settings.datasets == [str(moved / "a"), str(moved / "b")]
    pretrain(settings, runs / "stopped", resume=True)
    assert same_tensors(runs / "stopped" / "model.safetensors", runs / "whole/model.safetensors")
    assert RunFolder(runs / "tuned").settings().pretrained == str(runs / "whole")
    assert evaluate_run(runs / "tuned").found.metrics
    result = json.loads((runs / "tuned" / "result.json").read_text())
    assert result["transfer"]["run"] == "../whole"


def test_a_run_alone_opens_without_what_it_names(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "runs" / "tuned", tmp_path / "given")
    assert evaluate_run(tmp_path / "given").found.metrics
    shutil.copytree(project / "runs" / "whole", tmp_path / "pre")
    assert evaluate_run(tmp_path / "pre", project / "b").found.metrics


def test_a_config_is_used_again_from_any_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = project / "runs" / "tuned" / "config.toml"
    assert load_settings(config).data == str(project / "a")
    assert main(["train", "--config", str(config), "--out", "again"]) == 0
    assert RunFolder("again").settings().data == str(project / "a")


def test_a_run_of_before_with_absolute_paths_opens_and_goes_on(
    project: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(project / "runs" / "stopped", run)
    config = run / "config.toml"
    text = config.read_text()
    for name in ("a", "b"):
        assert f'"../../{name}"' in text
        text = text.replace(f'"../../{name}"', json.dumps(str(project / name)))
    config.write_text(text)
    settings = RunFolder(run).settings()
    assert settings.datasets == [str(project / "a"), str(project / "b")]
    pretrain(settings, run, resume=True)
    assert same_tensors(run / "model.safetensors", project / "runs/whole/model.safetensors")
