"""Weights, settings and data that don't match: one message each, and nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from miracle_cli.main import main
from miracle_core.recommender import Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.tensors import load_tensors, save_tensors
from tests.support.runs import SMALL_MODEL, tiny_run, tiny_shop

Capture = pytest.CaptureFixture[str]
QUICK = [f"--set={name}={value}" for name, value in SMALL_MODEL.items()]
QUICK += ["--batch-size", "8", "--epochs", "1", "--threads", "1"]


def told(capsys: Capture, *args: str | Path) -> str:
    """Run a command that is refused, and return its output: one message, no traceback."""
    capsys.readouterr()
    assert main([*map(str, args)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("error: ") == 1
    assert "a bug" not in said.err and "Traceback" not in said.err
    return said.err


def asked(run: Path) -> list[list[str]]:
    return [
        ["evaluate", str(run)],
        ["recommend", str(run), "--item", "I03"],
        ["inspect", str(run)],
        ["train", "--out", str(run), "--resume"],
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny_shop(tmp_path / "data").folder


def trained(tmp_path: Path, kind: str) -> Path:
    command = ["train", "--model", kind, "--data", str(tmp_path / "data")]
    more = QUICK if kind == "miracle" else []
    assert main([*command, "--out", str(tmp_path / kind), *more]) == 0
    return tmp_path / kind


@pytest.mark.parametrize(("here", "there"), [("miracle", "popularity"), ("popularity", "random")])
def test_weights_of_another_kind(
    tmp_path: Path, data: Path, capsys: Capture, here: str, there: str
) -> None:
    """Even if the shapes would fit, as for popularity and random."""
    run, other = trained(tmp_path, here), trained(tmp_path, there)
    shutil.copy(other / "model.safetensors", run / "model.safetensors")
    before = files(run)
    for command in asked(run)[:3]:
        said = told(capsys, *command)
        assert f"holds weights of {there!r}, and its settings are of {here!r}" in said
        assert f"where: {run}" in said
    assert files(run) == before


def test_a_checkpoint_of_another_kind(tmp_path: Path, data: Path, capsys: Capture) -> None:
    run = RunFolder(trained(tmp_path, "miracle"))
    tensors, metadata = load_tensors(run.state)
    save_tensors(run.state, tensors, {**metadata, "kind": "sasrec"})
    run.weights.unlink()
    before = files(run.path)
    for command in asked(run.path):
        assert "holds weights of 'sasrec', and its settings are of 'miracle'" in told(
            capsys, *command
        )
    assert files(run.path) == before


def test_half_a_copy_is_not_answered_from_its_checkpoint(
    tmp_path: Path, data: Path, capsys: Capture
) -> None:
    """The checkpoint's weights may be those of another epoch: the lists would be others."""
    run = RunFolder(trained(tmp_path, "miracle"))
    run.weights.unlink()
    for command in asked(run.path)[:3]:
        said = told(capsys, *command)
        assert "is missing: it held the best weights, those of epoch 1" in said
        assert f"where: {run.weights}" in said
    assert Recommender.load(run.path, weights="last").weights == "last"


def test_a_run_to_start_from_holds_weights_of_another_kind(
    tmp_path: Path, data: Path, capsys: Capture
) -> None:
    run = RunFolder(trained(tmp_path, "miracle"))
    tensors, metadata = load_tensors(run.weights)
    save_tensors(run.weights, tensors, {**metadata, "kind": "sasrec"})
    command = ["train", "--data", data, "--out", tmp_path / "run", "--from", run.path]
    assert "holds weights of 'sasrec'" in told(capsys, *command)
    assert not (tmp_path / "run").exists()


def test_an_unknown_system(tmp_path: Path, data: Path, capsys: Capture) -> None:
    said = told(capsys, "train", "--model", "popularty", "--data", data, "--out", tmp_path / "run")
    assert "there is no system 'popularty'" in said
    assert "did you mean popularity?" in said
    said = told(capsys, "train", "--model", "zzz", "--data", data, "--out", tmp_path / "run")
    assert "known: " in said and "miracle" in said
    config = tmp_path / "c.toml"
    config.write_text(f'data = "{data}"\n[model]\nkind = "os:system"\n')
    said = told(capsys, "train", "--config", config, "--out", tmp_path / "run")
    assert "there is no system 'os:system'" in said and str(config) in said
    config.write_text(f'data = "{data}"\n[model]\nkind = 3\n')
    assert "3 is not a name" in told(capsys, "train", "--config", config, "--out", tmp_path / "run")
    assert "no system 'zzz'" in told(capsys, "models", "zzz")
    assert not (tmp_path / "run").exists()


def test_a_run_of_an_unknown_system(tmp_path: Path, data: Path, capsys: Capture) -> None:
    run = trained(tmp_path, "popularity")
    config = run / "config.toml"
    config.write_text(config.read_text().replace('"popularity"', '"popularityy"'))
    before = files(run)
    for command in asked(run):
        said = told(capsys, *command)
        assert "there is no system 'popularityy'" in said
        assert str(config) in said and "did you mean popularity?" in said
    assert files(run) == before


def test_settings_of_another_kind(tmp_path: Path, data: Path, capsys: Capture) -> None:
    command = ["train", "--data", data, "--out", tmp_path / "run", "--model"]
    said = told(capsys, *command, "popularity", "--set", "model.capsules=3")
    assert "there is no setting 'capsules'" in said
    said = told(capsys, *command, "textknn", "--set", "model.max_lenght=3")
    assert "did you mean model.max_length?" in said
    assert "textknn is inductive, not transductive" in told(
        capsys, *command, "textknn", "--mode", "transductive"
    )
    assert "choose one of default" in told(capsys, *command, "popularity", "--preset", "paper")
    run = trained(tmp_path, "random")
    config = run / "config.toml"
    config.write_text(config.read_text().replace('kind = "random"', 'kind = "random"\nwidth = 8'))
    for each in asked(run):
        assert "there is no setting 'width'" in told(capsys, *each)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["miracle", "textknn"])
def test_a_dataset_without_text(tmp_path: Path, data: Path, capsys: Capture, kind: str) -> None:
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["features"] = {}
    (data / "manifest.json").write_text(json.dumps(manifest))
    command = ["train", "--model", kind, "--data", data, "--out", tmp_path / "run"]
    for more in ([], ["--encoder", "minilm"]):
        said = told(capsys, *command, *more)
        assert f"has no text features, and {kind} reads items by their text" in said
        assert f"where: {data}" in said
        assert f"miracle encode {data}" in said and "miracle models" in said
    # Nor can a run that reads text be used with such data.
    run = tiny_run(tmp_path / "other", train__mode="inductive")
    for name, *rest in (["evaluate"], ["recommend", "--user", "user-3"], ["inspect"]):
        assert "no text features" in told(capsys, name, run, "--data", data, *rest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "other"]


def test_from_a_run_of_another_system(tmp_path: Path, data: Path, capsys: Capture) -> None:
    source = trained(tmp_path, "textknn")
    command = ["train", "--data", data, "--out", tmp_path / "run", "--from", source]
    assert "textknn can't be pre-trained" in told(capsys, *command)
    said = told(capsys, *command, "--model", "miracle")
    assert "is a run of 'textknn', and this is to be 'miracle'" in said
    for kind in ("popularity", "textknn"):
        pretrain = ["pretrain", "--model", kind, "--data", data, "--out", tmp_path / "run"]
        assert f"{kind} can't be pre-trained" in told(capsys, *pretrain)
    assert not (tmp_path / "run").exists()
