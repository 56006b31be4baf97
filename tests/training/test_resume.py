"""A training that was stopped or killed resumes to exactly the same weights, or says why not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import save_file

from miracle_cli.main import main
from miracle_core.config import Settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.writing import write_features
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import load_run
from miracle_core.runs.tensors import load_tensors
from miracle_core.training import trainer
from miracle_core.training.finetuning import finetune
from tests.training.support import quick_settings, same_tensors


def stop_at(*steps: int) -> Callable[[], bool]:
    """A stop function: true after these steps, counted over all calls."""
    asked = iter(range(1, 1_000_000))
    return lambda: next(asked) in steps


def without_times(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        record.pop("seconds")
    return records


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    folder = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = quick_settings(folder / "data")
    finetune(settings, folder / "run")
    torch.set_num_threads(threads)
    return settings, folder / "run"


def assert_same_run(run: Path, other: Path) -> None:
    assert same_tensors(run / "model.safetensors", other / "model.safetensors")
    # The last weights, the optimiser and the random state are equal, too.
    a, b = (load_tensors(RunFolder(folder).state)[0] for folder in (run, other))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert without_times(run) == without_times(other)
    results = [json.loads((folder / "result.json").read_text()) for folder in (run, other)]
    for result in results:
        result.pop("seconds")
    assert results[0] == results[1]


@pytest.mark.parametrize("seed", range(3))
def test_stopped_at_random_steps_it_ends_with_the_same_weights(
    uninterrupted: tuple[Settings, Path], tmp_path: Path, seed: int
) -> None:
    settings, whole = uninterrupted
    rng = random.Random(seed)
    run = tmp_path / "run"
    result = finetune(settings, run, should_stop=stop_at(rng.randint(1, 8)))
    stops = 0
    while result["status"] == "interrupted":
        stops += 1
        torch.manual_seed(rng.randrange(1000))  # whatever the process did before
        result = finetune(settings, run, resume=True, should_stop=stop_at(rng.randint(1, 8)))
    assert stops > 2
    assert_same_run(run, whole)


@pytest.mark.parametrize("stop", [5, 10, 25])
def test_stopped_after_the_last_step_of_an_epoch(
    uninterrupted: tuple[Settings, Path], tmp_path: Path, stop: int
) -> None:
    settings, whole = uninterrupted
    steps = json.loads((whole / "metrics.jsonl").read_text().splitlines()[0])["step"]
    assert stop % steps == 0
    run = tmp_path / "run"
    result = finetune(settings, run, should_stop=stop_at(stop))
    assert (result["status"], result["epochs"]) == ("interrupted", stop // steps - 1)
    assert "test" not in result
    finetune(settings, run, resume=True)
    assert_same_run(run, whole)


def test_a_finished_run_resumed_is_only_tested_again(
    uninterrupted: tuple[Settings, Path], tmp_path: Path
) -> None:
    settings, whole = uninterrupted
    run = tmp_path / "run"
    finetune(settings, run)
    finetune(settings, run, resume=True)
    assert_same_run(run, whole)


CHILD = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from miracle_core.config import load_settings
from miracle_core.training import finetuning, trainer
trainer.CHECKPOINT_SECONDS = 0.0
run, config, resume = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resume"
def say():
    print("step", flush=True)
    return False
finetuning.finetune(load_settings(config), run, resume=resume, should_stop=say)
"""


def kill_after(steps: int, run: Path, config: Path, mode: str, rng: random.Random) -> None:
    """Train in a new process, and kill -9 it at some moment after this many steps."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(run), str(config), mode],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert child.stdout is not None
    for _ in range(steps):
        assert child.stdout.readline() == "step\n"
    time.sleep(rng.uniform(0.0, 0.03))
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()


def test_killed_at_any_moment_it_ends_with_the_same_weights(
    uninterrupted: tuple[Settings, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, whole = uninterrupted
    rng = random.Random()  # unseeded, to try different moments
    run, config = tmp_path / "run", whole / "config.toml"
    kill_after(2, run, config, "new", rng)
    assert main(["evaluate", str(run), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["weights"] == ("best" if (run / "model.safetensors").exists() else "last")
    kill_after(rng.randint(1, 6), run, config, "resume", rng)
    load_run(run)
    finetune(settings, run, resume=True)
    assert_same_run(run, whole)


def test_killed_before_the_first_checkpoint_it_begins_again(
    uninterrupted: tuple[Settings, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, whole = uninterrupted

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Training, "step", die)
        with pytest.raises(KeyboardInterrupt):
            finetune(settings, tmp_path / "run")
    with pytest.raises(InputError, match="has no weights yet"):
        load_run(tmp_path / "run")
    finetune(settings, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("moment", ["write_history", "save"])
def test_killed_within_a_validation(
    uninterrupted: tuple[Settings, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """Best weights are written, the record may be, the checkpoint is not: nothing happens twice."""
    settings, whole = uninterrupted
    run = tmp_path / "run"
    finetune(settings, run, should_stop=stop_at(13))

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        owner = RunFolder if moment == "write_history" else trainer.Training
        real = getattr(owner, moment)
        calls: list[int] = []

        def later(*args: Any) -> Any:
            calls.append(1)
            # the first call comes from resuming itself
            return real(*args) if moment == "write_history" and len(calls) == 1 else die()

        patch.setattr(owner, moment, later)
        with pytest.raises(KeyboardInterrupt):
            finetune(settings, run, resume=True)
    finetune(settings, run, resume=True, should_stop=stop_at(1))
    assert len(without_times(run)) == 2  # only what the checkpoint has recorded
    finetune(settings, run, resume=True)
    assert_same_run(run, whole)


@pytest.fixture
def stopped(uninterrupted: tuple[Settings, Path], tmp_path: Path) -> tuple[Settings, RunFolder]:
    """A run stopped in its second epoch."""
    settings, _ = uninterrupted
    finetune(settings, tmp_path / "run", should_stop=stop_at(7))
    return settings, RunFolder(tmp_path / "run")


def test_before_the_first_validation_the_checkpoint_is_evaluated(
    uninterrupted: tuple[Settings, Path], tmp_path: Path
) -> None:
    settings, _ = uninterrupted
    folder = RunFolder(tmp_path / "run")
    finetune(settings, folder.path, should_stop=stop_at(3))
    found = evaluate_run(folder.path)
    assert found.run.weights_from == "last"
    tensors, _ = load_tensors(folder.state)
    for name, value in found.run.system.state_dict().items():
        assert torch.equal(value, tensors[f"mean.{name}"])


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_checkpoint_cut_off(stopped: tuple[Settings, RunFolder], share: float) -> None:
    settings, folder = stopped
    whole = folder.state.read_bytes()
    folder.state.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match="can't be read as safetensors") as caught:
        finetune(settings, folder.path, resume=True)
    assert caught.value.where == str(folder.state)


def rewritten(folder: RunFolder, change: str) -> None:
    """A checkpoint that is a valid safetensors file with one wrong entry."""
    tensors, metadata = load_tensors(folder.state)
    position = orjson.loads(metadata["position"])
    if change == "version":
        metadata["version"] = "0"
    elif change == "position":
        metadata["position"] = metadata["position"][:-3]
    elif change == "field":
        metadata["position"] = orjson.dumps({**position, "epoch": "many"}).decode()
    elif change == "used":  # the old name of the capsule counter
        metadata["position"] = orjson.dumps({**position, "used": [1]}).decode()
    elif change == "counters":
        counters = {"capsules": [1] * 5}
        metadata["position"] = orjson.dumps({**position, "counters": counters}).decode()
    elif change == "counter":
        counters = {"capsules": ["many"]}
        metadata["position"] = orjson.dumps({**position, "counters": counters}).decode()
    elif change == "random":
        del tensors["random.cpu"]
    elif change == "weight":
        tensors["model.capsules.base"] = torch.zeros(3, 3)
    elif change == "missing":
        del tensors["model.capsules.base"]
    elif change == "state":
        tensors["optimiser.0.exp_avg"] = torch.zeros(3)
    elif change == "index":
        tensors["optimiser.x.exp_avg"] = torch.zeros(3)
    elif change == "many":
        tensors["optimiser.999.step"] = torch.zeros(())
    save_file(tensors, folder.state, metadata)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("version", "not a checkpoint of this version"),
        ("position", "not a whole checkpoint"),
        ("field", "not a whole checkpoint"),
        ("used", "checkpoint of other settings"),
        ("counters", "checkpoint of other settings"),
        ("counter", "not a whole checkpoint"),
        ("random", "not a whole checkpoint"),
        ("weight", "weight 'capsules.base' has shape"),
        ("missing", "weight 'capsules.base' has shape None"),
        ("state", "another optimiser's state"),
        ("index", "not a whole checkpoint"),
        ("many", "another optimiser's state"),
    ],
)
def test_a_checkpoint_with_something_wrong(
    stopped: tuple[Settings, RunFolder], change: str, says: str
) -> None:
    settings, folder = stopped
    rewritten(folder, change)
    with pytest.raises(InputError, match=says) as caught:
        finetune(settings, folder.path, resume=True)
    assert caught.value.where == str(folder.state)


@pytest.mark.parametrize("name", ["sequences.npy", "features.hashing%3A32.npy"])
def test_changed_data_is_noticed(stopped: tuple[Settings, RunFolder], name: str) -> None:
    settings, folder = stopped
    file = folder.data / name
    array = np.load(file)
    array.flat[0] = array.flat[0] + 1 if name.startswith("f") else (array.flat[0] + 1) % 30
    file.unlink()  # the Dataset's file is a hard link to this one
    np.save(file, array)
    for use in (
        lambda: finetune(settings, folder.path, resume=True),
        lambda: load_run(folder.path),
    ):
        with pytest.raises(InputError, match="has changed since it was written") as caught:
            use()
        assert caught.value.where == str(file)


def test_other_text_features_with_a_manifest_that_fits(
    stopped: tuple[Settings, RunFolder],
) -> None:
    """Encoded anew inside the run folder: the hashes match the manifest, but not the weights."""
    settings, folder = stopped
    dataset = Dataset.open(folder.data)
    entry = dataset.feature_set()
    write_features(folder.data, np.asarray(dataset.features()) * 2, entry.encoder)
    with pytest.raises(InputError, match="data has changed since its checkpoint"):
        finetune(settings, folder.path, resume=True)
    with pytest.raises(InputError, match="not what its weights were learned from"):
        load_run(folder.path)


def test_a_damaged_record_of_validations_does_not_stop_a_run(
    uninterrupted: tuple[Settings, Path], stopped: tuple[Settings, RunFolder]
) -> None:
    settings, folder = stopped
    for bad in (b'{"epoch": 1', b"[]", b'{"epoch": 9}'):
        folder.metrics.write_bytes(bad)
        assert folder.history() == []
    finetune(settings, folder.path, resume=True)
    assert same_tensors(folder.weights, uninterrupted[1] / "model.safetensors")


def test_no_run_to_resume(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data")
    with pytest.raises(InputError, match="not a run folder"):
        finetune(settings, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()
