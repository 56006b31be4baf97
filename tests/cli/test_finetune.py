"""``miracle finetune``: what its options become, what it prints, how Ctrl-C ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from miracle_cli.main import main
from miracle_cli.training import until_interrupted
from miracle_core.files import sha256_file
from miracle_core.runs.opening import load_run
from tests.support.runs import SMALL_MODEL, tiny_shop
from tests.training.support import same_tensors

QUICK = [f"--set={name}={value}" for name, value in SMALL_MODEL.items()]
QUICK += ["--batch-size", "8"]
EPOCHS = ["--epochs", "2"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny_shop(tmp_path / "data").folder


def test_json_is_the_result(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert (
        main(["finetune", "--data", str(data), "--out", str(run), *QUICK, *EPOCHS, "--json"]) == 0
    )
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((run / "result.json").read_text())
    lines = said.err.splitlines()
    assert [line[:9] for line in lines if line.startswith("epoch ")] == ["epoch 1/2", "epoch 2/2"]
    assert any("valid" in line for line in lines)
    assert any("test" in line and "0." in line for line in lines)
    assert f"next: miracle evaluate {run}" in said.err
    assert "\x1b" not in said.err
    assert list((run / "tensorboard").iterdir())


def test_options_beat_the_file_and_the_file_the_preset(tmp_path: Path, data: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        f'preset = "reference"\ndata = "{data}"\n[model]\ncapsules = 5\n[train]\nepochs = 9\n'
        'seed = 4\nmode = "inductive"\n'
    )
    command = ["finetune", "--config", str(config), "--out", str(tmp_path / "run"), *QUICK]
    command = [part for part in command if "capsules" not in part]
    command += ["--epochs", "1", "--learning-rate", "0.5", "--patience", "3", "--metric", "mrr@5"]
    command += ["--set", "model.score=cosine", "--set", "model.temperature = 0.5", "--threads", "1"]
    assert main(command) == 0
    used = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (used["preset"], used["model"]["agreement"]) == ("reference", "q")
    assert (used["model"]["capsules"], used["train"]["seed"]) == (5, 4)
    assert (used["model"]["score"], used["model"]["temperature"]) == ("cosine", 0.5)
    assert used["train"] == {
        **used["train"],
        "mode": "inductive",
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 0.5,
        "patience": 3,
        "metric": "mrr@5",
    }
    assert used["encoder"] == "hashing:32"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "model.widht=64"], "did you mean model.width?"),
        (["--set", "model.widht=64"], "where: --set model.widht=64"),
        (["--batch-size", "0"], "where: --batch-size\n"),
        (["--model", "mirakle"], "where: --model\n"),
        (["--set", "model=3"], "is a section of settings, not a value (got 3)"),
        (["--set", "width=64"], "did you mean model.width?"),
        (["--set", "model.width"], "write --set model.width=64"),
        (["--set", "model.width=wide"], "must be a whole number"),
        (["--set", "model.width=8\nx=3"], "must be a whole number"),
        (["--set", "model=3", "--set", "model.width=4"], "a value and settings"),
        (["--set", "train.epochs=3"], "given twice"),
        (["--mode", "both"], "'transductive' or 'inductive'"),
        (["--preset", "papr"], "choose one of"),
        (["--metric", "recall"], "recall@K"),
        (["--encoder", "minilm"], "no text features of encoder 'minilm'"),
        (["--data", "nowhere"], "not a Dataset folder"),
        (["--config", "nowhere.toml"], "can't be read"),
        (["--resume", "--overwrite"], "contradict"),
        (["--resume"], "not a run folder"),
    ],
)
def test_bad_options_write_nothing(
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    says: str,
) -> None:
    run = tmp_path / "run"
    command = ["finetune", "--out", str(run), "--epochs", "1", *options]
    command += [] if "--data" in options else ["--data", str(data)]
    assert main(command) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "--out", str(tmp_path / "run")]) == 2
    assert "--data DIR" in capsys.readouterr().err


def test_resuming_keeps_the_settings(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["finetune", "--data", str(data), "--out", str(run), *QUICK, *EPOCHS]
    assert main(command) == 0
    before = (run / "model.safetensors").read_bytes()
    assert main(command) == 2  # the folder is taken
    assert "--resume" in capsys.readouterr().err
    # Resume with the same command or with only the required options, also with moved data.
    assert main([*command, "--resume"]) == 0
    moved = data.rename(tmp_path / "moved")
    assert main(["finetune", "--out", str(run), "--resume", "--data", str(moved)]) == 0
    assert main(["finetune", "--out", str(run), "--resume"]) == 0
    assert (run / "model.safetensors").read_bytes() == before
    capsys.readouterr()
    for options, says in (
        (["--seed", "1"], "train.seed is 1, but the run was begun with 2023"),
        (["--set", "model.capsules=3"], "model.capsules is 3"),
        (["--encoder", "minilm"], "encoder is 'minilm'"),
        (["--preset", "paper"], "preset is 'paper'"),
    ):
        assert main(["finetune", "--out", str(run), "--resume", *options]) == 2
        assert says in capsys.readouterr().err
    other = tiny_shop(tmp_path / "other").folder
    manifest = json.loads((other / "manifest.json").read_text())
    np.save(other / "sequences.npy", np.load(other / "sequences.npy")[::-1])
    manifest["files"]["sequences.npy"] = sha256_file(other / "sequences.npy")
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert main(["finetune", "--out", str(run), "--resume", "--data", str(other)]) == 2
    assert "not the data that the run was begun with" in capsys.readouterr().err


def test_the_second_ctrl_c_aborts() -> None:
    before = signal.getsignal(signal.SIGINT)
    told: list[int] = []
    with until_interrupted(lambda: told.append(1)) as pressed:
        assert not pressed()
        signal.raise_signal(signal.SIGINT)
        assert pressed()
        assert told == [1]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_leaves_a_run_that_goes_on(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = ["finetune", "--data", str(data), *QUICK, "--epochs", "12", "--threads", "1"]
    options += ["--patience", "12", "--out"]
    program = "from miracle_cli.main import run; run()"
    child = subprocess.Popen(
        [sys.executable, "-c", program, *options, str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert child.stderr is not None
    while not child.stderr.readline().startswith("epoch 1/"):
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "stopping after this step" in err
    assert f"everything is saved; to go on: miracle finetune --out {run} --resume" in err
    assert "Traceback" not in err
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert "interrupted" in out
    assert 1 <= result["epochs"] < 12
    assert load_run(run).weights_from == "best"

    assert main(["evaluate", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == "best"
    assert main(["finetune", "--out", str(run), "--resume", "--threads", "1"]) == 0
    assert main([*options, str(whole)]) == 0
    assert same_tensors(run / "model.safetensors", whole / "model.safetensors")
