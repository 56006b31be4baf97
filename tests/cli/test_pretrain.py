"""``miracle pretrain``, and the uses of its run: ``finetune --from`` and zero-shot ``evaluate``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from miracle_cli.main import main
from tests.support.runs import SMALL_MODEL, other_shop, tiny_shop
from tests.training.support import same_tensors

Capture = pytest.CaptureFixture[str]
QUICK = [f"--set={name}={value}" for name, value in SMALL_MODEL.items()]
QUICK += ["--batch-size", "8", "--threads", "1"]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Options that name two Datasets; a third one is in ``new``."""
    folders = [tiny_shop(tmp_path / "a").folder, other_shop(tmp_path / "b").folder]
    other_shop(tmp_path / "new", items=25, name="new")
    return [part for folder in folders for part in ("--data", str(folder))]


def pretrain(tmp_path: Path, data: list[str], *options: str) -> Path:
    run = tmp_path / "run"
    assert main(["pretrain", *data, "--out", str(run), *QUICK, *options]) == 0
    return run


def test_from_pretraining_to_zero_shot_and_fine_tuning(
    tmp_path: Path, data: list[str], capsys: Capture
) -> None:
    run = pretrain(tmp_path, data, "--json")
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((run / "result.json").read_text())
    assert "epoch 2/2" in said.err and "contrast" in said.err
    assert "valid, tiny" in said.err and "valid, other" in said.err
    assert f"next: miracle finetune --from {run} --data DATA" in said.err
    used = tomllib.loads((run / "config.toml").read_text())
    assert used["datasets"] == ["../a", "../b"]
    assert (used["train"]["mode"], used["train"]["epochs"]) == ("inductive", 2)

    new = str(tmp_path / "new")
    assert main(["evaluate", str(run), "--data", new, "--json"]) == 0
    zero_shot = json.loads(capsys.readouterr().out)
    assert zero_shot["zero_shot"] and zero_shot["dataset"] == "new"
    assert zero_shot["references"].keys() == {"text", "popularity", "chance"}
    assert main(["evaluate", str(run), "--data", new]) == 0
    assert "trained on tiny, other" in capsys.readouterr().out
    assert main(["evaluate", str(run)]) == 2
    assert "--data DATA" in capsys.readouterr().err

    tuned = tmp_path / "tuned"
    command = ["finetune", "--from", str(run), "--data", new, "--out", str(tuned), "--epochs", "1"]
    assert main([*command, "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    for title, names in (("loaded", "loaded"), ("new", "new"), ("left out", "left_out")):
        told = result["transfer"][names]
        assert f"{title} ({len(told)}): {', '.join(told[:12])}" in said.err
    assert "context.position" in result["transfer"]["frozen"]
    used = tomllib.loads((tuned / "config.toml").read_text())
    assert used["pretrained"] == "../run" and used["train"]["freeze"] is True
    assert used["model"]["width"] == 8  # the pre-trained run's width, not the default
    # config.toml alone repeats the same training.
    again = tmp_path / "again"
    assert main(["finetune", "--config", str(tuned / "config.toml"), "--out", str(again)]) == 0
    assert same_tensors(tuned / "model.safetensors", again / "model.safetensors")
    # Resume with the same command, or with only the required options.
    assert main([*command, "--resume"]) == 0
    assert main(["finetune", "--out", str(tuned), "--resume"]) == 0
    capsys.readouterr()
    assert main([*command, "--resume", "--no-freeze"]) == 2
    assert "train.freeze is False, but the run was begun with True" in capsys.readouterr().err


def test_options_become_settings(tmp_path: Path, data: list[str]) -> None:
    options = ["--epochs", "1", "--mix-temperature", "0.5", "--metric", "ndcg@5", "--seed", "3"]
    options += ["--set", "loss.contrast=0.0", "--learning-rate", "0.01", "--preset", "reference"]
    run = pretrain(tmp_path, data, *options)
    used = tomllib.loads((run / "config.toml").read_text())
    assert used["pretrain"]["mix_temperature"] == 0.5
    assert (used["model"]["contrast"], used["model"]["agreement"]) == (0.0, "q")
    assert (used["train"]["metric"], used["train"]["seed"]) == ("ndcg@5", 3)


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("pretrain", [], "name each with --data DIR"),
        ("pretrain", ["--data", "A", "--data", "A"], "is the same Dataset as"),
        ("pretrain", ["--data", "A", "--set", "train.mode=transductive"], "is inductive"),
        ("pretrain", ["--data", "A", "--set", "data=B"], "name one"),
        ("pretrain", ["--data", "nowhere"], "not a Dataset folder"),
        ("pretrain", ["--data", "A", "--encoder", "minilm"], "no text features of encoder"),
        ("pretrain", ["--resume"], "not a run folder"),
        ("pretrain", ["--resume", "--overwrite"], "contradict"),
        ("finetune", ["--data", "A", "--freeze"], "name a run with --from"),
        ("finetune", ["--data", "A", "--from", "nowhere"], "not a run folder"),
        ("finetune", ["--data", "A", "--set", "datasets=['B']"], "name one"),
        ("finetune", ["--set", "datasets=['B']"], "use: miracle pretrain"),
        ("finetune", ["--data", "A", "--seeds", "1"], "'--seeds'"),
        ("finetune", ["--seeds", "2", "--resume"], "holds no runs of seeds"),
    ],
)
def test_bad_options_write_nothing(
    tmp_path: Path, data: list[str], capsys: Capture, command: str, options: list[str], says: str
) -> None:
    options = [{"A": data[1], "B": data[3]}.get(option, option) for option in options]
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main([command, "--out", str(tmp_path / "run"), "--epochs", "1", *options]) == 2
    said = capsys.readouterr()
    assert says in said.err and said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_resuming_keeps_the_settings(tmp_path: Path, data: list[str], capsys: Capture) -> None:
    run = pretrain(tmp_path, data)
    before = (run / "model.safetensors").read_bytes()
    assert main(["pretrain", *data, "--out", str(run), *QUICK, "--resume"]) == 0
    assert main(["pretrain", "--out", str(run), "--resume"]) == 0
    assert (run / "model.safetensors").read_bytes() == before
    capsys.readouterr()
    for options, says in (
        (["--mix-temperature", "0.5"], "pretrain.mix_temperature is 0.5"),
        (["--data", data[1]], "datasets is"),
    ):
        assert main(["pretrain", "--out", str(run), "--resume", *options]) == 2
        assert says in capsys.readouterr().err


def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path: Path, data: list[str]) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = ["pretrain", *data, *QUICK, "--epochs", "12", "--patience", "12", "--out"]
    child = subprocess.Popen(
        [sys.executable, "-c", "from miracle_cli.main import run; run()", *options, str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert child.stderr is not None
    while not child.stderr.readline().startswith("epoch 1/"):
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert f"everything is saved; to go on: miracle pretrain --out {run} --resume" in err
    assert main(["pretrain", "--out", str(run), "--resume", "--threads", "1"]) == 0
    assert main([*options, str(whole)]) == 0
    assert same_tensors(run / "model.safetensors", whole / "model.safetensors")


def test_seeds(tmp_path: Path, data: list[str], capsys: Capture) -> None:
    out = tmp_path / "seeds"
    command = ["finetune", "--data", data[1], "--out", str(out), *QUICK, "--epochs", "1"]
    assert main([*command, "--seeds", "2", "--json"]) == 0
    said = capsys.readouterr()
    summary = json.loads(said.out)
    assert summary == json.loads((out / "summary.json").read_text())
    assert "seed 2023" in said.err and "seed 2024" in said.err
    assert main(["evaluate", str(out / "seed-2024"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == summary["runs"][1]["test"]
    # Add one seed; the two finished ones stay.
    assert main(["finetune", "--out", str(out), "--seeds", "3", "--resume"]) == 0
    said = capsys.readouterr()
    assert "seed 2025" in said.err and "seed 2024" not in said.err
    shown = {line.split()[0] for line in said.out.splitlines() if line.split()}
    assert {"seed", "valid", "test"} <= shown
    mean = json.loads((out / "summary.json").read_text())["mean"]["test"]["ndcg@10"]
    assert f"{mean:.4f}" in said.out
    assert main(["finetune", "--out", str(out), "--seeds", "3", "--resume", "--epochs", "9"]) == 2
    assert "train.epochs is 9" in capsys.readouterr().err
