"""``miracle train RECIPE.toml``: what it prints, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from miracle_cli.main import main
from tests.support.runs import tiny_shop

Capture = pytest.CaptureFixture[str]
RECIPE = """
data = "data"
seen = "as-printed"
model.kind = "popularity"

[[stage]]
kind = "finetune"

[[stage]]
kind = "evaluate"
split = "valid"
k = [5]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    tiny_shop(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


def test_json_is_the_result(recipe: Path, capsys: Capture) -> None:
    out = recipe.parent / "out"
    assert main(["train", str(recipe), "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((out / "result.json").read_text())
    assert f"stage 1: finetune, in {out / '1-finetune'}" in said.err
    assert f"stage 2: evaluate, in {out / '2-evaluate'}" in said.err
    # The folder stores its recipe, and finished stages are kept.
    assert main(["train", "--out", str(out), "--resume", "--json"]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == json.loads(said.out)
    assert "stage" not in again.err


def test_for_people(recipe: Path, capsys: Capture) -> None:
    assert main(["train", str(recipe), "--out", str(recipe.parent / "out")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["1-finetune", "valid"] in [line[:2] for line in lines]
    assert ["2-evaluate", "tiny", "valid"] in [line[:3] for line in lines]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seed", "3"], "where: --seed"),
        (["--model", "random"], "where: --model"),
        (["--data", "data"], "where: --data"),
        (["--set", "train.seed=3"], "where: --set"),
        (["--seeds", "3"], "where: --seeds"),
        (["--config", "c.toml"], "where: --config"),
        (["--no-freeze"], "where: --freeze"),
        (["--resume"], "holds no recipe"),
        (["--resume", "--overwrite"], "contradict"),
    ],
)
def test_bad_options_write_nothing(
    recipe: Path, capsys: Capture, options: list[str], says: str
) -> None:
    out = recipe.parent / "out"
    assert main(["train", str(recipe), "--out", str(out), *options]) == 2
    said = capsys.readouterr()
    assert says in said.err and said.out == ""
    assert not out.exists()


def test_no_recipe(tmp_path: Path, capsys: Capture) -> None:
    assert main(["train", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "can't be read" in capsys.readouterr().err
    (tmp_path / "c.toml").write_text("[train]\nseed = 1\n")
    assert main(["train", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "--config" in capsys.readouterr().err


def test_ctrl_c_stops_the_whole_and_resume_goes_on(tmp_path: Path, capsys: Capture) -> None:
    tiny_shop(tmp_path / "data")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'data = "data"\n[model]\nwidth = 8\ncapsules = 4\nexperts = 2\nlayers = 1\ninner = 8\n'
        "[train]\nbatch_size = 1\nepochs = 9999\npatience = 9999\ntest = false\n"
        '[[stage]]\nkind = "finetune"\n[[stage]]\nkind = "evaluate"\nsplit = "valid"\n'
    )
    out = tmp_path / "out"
    ran = subprocess.Popen(
        [sys.executable, "-m", "miracle_cli", "train", str(recipe), "--out", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.stderr is not None
    try:
        while not (line := ran.stderr.readline()).startswith("epoch 1/"):
            assert line, "it ended early"
        ran.send_signal(signal.SIGINT)
        _, said = ran.communicate(timeout=60)
    finally:
        ran.kill()
    assert ran.returncode == 130
    assert f"miracle train --out {out} --resume" in said
    result = json.loads((out / "result.json").read_text())
    assert (result["status"], len(result["stages"])) == ("interrupted", 1)
    assert not (out / "2-evaluate").exists()
