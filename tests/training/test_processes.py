"""Two processes (gloo, CPU) give what one gives: losses, gradients, evaluation, whole runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from miracle_core.config import Settings, dump_settings
from miracle_core.processes import Processes
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import load_run
from miracle_core.runs.tensors import load_tensors
from tests.support.warm import ROOT, Warm
from tests.training.support import quick_settings, same_tensors, settings_of

# All sizes: equal shares, one example more, fewer than processes, and repeated examples.
BATCHES = [list(range(8)), list(range(9)), [3], [5, 7], [4, 4, 4], list(range(6, 13))]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("tests.training.jobs") as process:
        yield process


def written(folder: Path, settings: Settings) -> str:
    """Write the settings to a file."""
    path = folder / "config.toml"
    path.write_text(dump_settings(settings))
    return str(path)


@pytest.mark.parametrize(
    "kind",
    [
        *("finetune", "cosine", "pretrain", "uncorrected", "unisrec", "s3rec"),
        *("gbce", "sasrec", "gru4rec", "bert4rec"),
        *("finetune padded", "pretrain padded", "gbce padded", "sasrec padded", "gru4rec padded"),
        *("comirec padded", "bert4rec padded", "heads padded", "fdsa padded"),
        *("s3rec padded", "unisrec padded"),
    ],
)
def test_losses_and_gradients_are_those_of_one_process(
    warm: Warm, tmp_path: Path, kind: str
) -> None:
    config = written(tmp_path, settings_of(kind, tmp_path))
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert warm.run("gradients", config, str(one), BATCHES) == 0
    assert warm.together(2, "gradients", config, str(two), BATCHES) == [0, 0]
    alone, shared = load_file(one), load_file(two)
    assert alone.keys() == shared.keys()
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-5, atol=1e-5, msg=name)
    largest = {name: float(alone[name].abs().max()) for name in alone if ".d." in name}
    # Adding a constant to all logits of a softmax changes nothing.
    shifts = ("score.bias", "logit.bias")
    slopes = [v for k, v in largest.items() if k.startswith("0.") and not k.endswith(shifts)]
    assert min(slopes) > 1e-5
    if kind.startswith("s3rec"):
        names = ("item_attribute", "masked_item", "masked_attribute", "segment")
        assert all(float(alone[f"0.{name}"]) > 0 for name in names)
    if kind in ("pretrain", "uncorrected", "unisrec", "unisrec padded"):
        assert all(float(alone[f"{number}.contrast"]) > 0 for number in (0, 1, 5))


@pytest.mark.parametrize("leave_out", [False, True])
def test_a_shared_evaluation_is_that_of_one_process(
    warm: Warm, tmp_path: Path, leave_out: bool
) -> None:
    config = written(tmp_path, quick_settings(tmp_path / "data"))
    assert warm.run("ranking", config, str(tmp_path / "one"), leave_out) == 0
    assert warm.together(2, "ranking", config, str(tmp_path / "two"), leave_out) == [0, 0]
    alone = np.load(tmp_path / "one.0.npz")
    assert len(alone["users"]) > 3
    for rank in (0, 1):
        shared = np.load(tmp_path / f"two.{rank}.npz")
        for name in alone:
            np.testing.assert_allclose(shared[name], alone[name], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(shared["metrics"], alone["metrics"], rtol=0, atol=1e-9)


def state(run: Path) -> dict[str, Any]:
    return load_tensors(RunFolder(run).state)[0]


@pytest.mark.parametrize("kind", ["finetune", "pretrain"])
def test_a_run_of_two_processes_goes_on_to_the_same_weights(
    warm: Warm, tmp_path: Path, kind: str
) -> None:
    """If one process stops, the other stops as well; both resume together."""
    settings = settings_of(kind, tmp_path)
    config = written(tmp_path, settings)
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert warm.together(2, "train", config, str(whole), "new", {}) == [0, 0]
    assert warm.together(2, "train", config, str(run), "new", {"1": 7}) == [3, 3]
    assert state(run).keys() >= {"random.cpu", "random.cpu.1"}
    assert not torch.equal(state(run)["random.cpu"], state(run)["random.cpu.1"])
    assert warm.together(2, "train", config, str(run), "resume", {"0": 6}) == [3, 3]
    assert warm.together(2, "train", config, str(run), "resume", {}) == [0, 0]
    assert same_tensors(run / "model.safetensors", whole / "model.safetensors")
    assert same_tensors(RunFolder(run).state, RunFolder(whole).state)
    assert len(RunFolder(run).history()) == settings.train.epochs
    if kind == "finetune":
        load_run(run)
    assert not [path.name for path in run.rglob("*.part")]


def test_another_number_of_processes_is_refused(warm: Warm, tmp_path: Path) -> None:
    config = written(tmp_path, quick_settings(tmp_path / "data"))
    run, said = tmp_path / "run", tmp_path / "said"
    assert warm.run("train", config, str(run), "new", {"0": 3}) == 3
    assert warm.together(2, "refused", config, str(run), str(said)) == [0, 0]
    for rank in (0, 1):
        assert "was written by 1 process(es), and this is 2" in Path(f"{said}.{rank}").read_text()


def test_what_the_first_process_can_not_do_stops_the_others(warm: Warm, tmp_path: Path) -> None:
    config = written(tmp_path, quick_settings(tmp_path / "data"))
    run = tmp_path / "run"
    run.mkdir()
    (run / "mine").write_text("taken")
    assert warm.together(2, "train", config, str(run), "new", {}) == [1, 1]
    assert (run / "mine").read_text() == "taken"


def test_shares_of_a_batch() -> None:
    batch = np.arange(7)
    shares = [Processes(rank, 3).share(batch) for rank in range(3)]
    assert np.concatenate([mine for mine, _, _ in shares]).tolist() == batch.tolist()
    assert [len(mine) for mine, _, _ in shares] == [3, 2, 2]
    assert all(weight == 1.0 and together.size == 3 for _, together, weight in shares)
    mine, together, weight = Processes(2, 3).share(batch[:2])
    assert (mine.tolist(), together.size, weight) == ([0, 1], 1, 1 / 3)


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    """``torchrun --nproc-per-node 2 -m miracle_cli ...``, on a port of its own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*launcher, "--nproc-per-node", "2", "-m", "miracle_cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_torchrun_trains_stops_at_ctrl_c_and_goes_on(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=400, train__patience=400)
    config, run = written(tmp_path, settings), tmp_path / "run"
    first = torchrun("finetune", "--config", config, "--out", str(run))
    assert first.stderr is not None
    said = ""
    while "epoch 3/400" not in said:
        line = first.stderr.readline()
        assert line, said
        said += line
    first.send_signal(signal.SIGINT)
    _, rest = first.communicate(timeout=300)
    said += rest
    assert said.count("everything is saved; to go on:") == 1
    assert said.count("epoch 3/400") == 1
    done = len(RunFolder(run).history())
    assert 3 <= done < 400
    # That is enough: finish the interrupted epoch, and train one more.
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("epochs = 400", f"epochs = {done + 2}"))
    second = torchrun("finetune", "--out", str(run), "--resume", "--json")
    out, said = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert json.loads(out) == json.loads((run / "result.json").read_text())
    assert [record["epoch"] for record in RunFolder(run).history()] == list(range(1, done + 3))
