"""A training killed (SIGKILL) at twenty moments ends with the weights of an undisturbed one."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from miracle_core.config import dump_settings
from miracle_core.errors import InputError
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import load_run
from tests.support.warm import Warm
from tests.training.support import pretrain_settings, quick_settings
from tests.training.test_resume import assert_same_run

PHASES = ("batch", "checkpoint", "validation", "between")
KILLS = 20


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("tests.training.jobs") as process:
        yield process


def test_killed_twenty_times_it_ends_with_the_same_weights(warm: Warm, tmp_path: Path) -> None:
    """Kill in a batch, in a checkpoint, in a validation and between them, five times each.

    Each kill comes up to 2 ms after a random call of a Python or C function.
    """
    settings = quick_settings(tmp_path / "data", train__epochs=10, train__patience=10)
    kill_and_compare(warm, tmp_path, settings, KILLS, seed=4)


def test_a_pretraining_too(warm: Warm, tmp_path: Path) -> None:
    settings = pretrain_settings(tmp_path, train__epochs=4, train__patience=4)
    kill_and_compare(warm, tmp_path, settings, 8, seed=5)


def kill_and_compare(warm, tmp_path, settings, kills, seed):
    """Train once without kills and once with kills at random phases; compare the two runs."""
    config, counts = tmp_path / "config.toml", tmp_path / "counts.json"
    config.write_text(dump_settings(settings))
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert warm.run("train_until", str(config), str(whole), "new", "", 0, 0.0, str(counts)) == 0
    calls = json.loads(counts.read_text())
    steps = RunFolder(whole).history()[-1]["step"]
    # The share of a phase's calls to kill within: those of two steps, or of one validation.
    each = {"batch": 2 / steps, "checkpoint": 2 / steps, "validation": 1 / settings.train.epochs}
    rng = random.Random(seed)
    moments = [phase for phase in PHASES for _ in range(kills // len(PHASES))]
    rng.shuffle(moments)
    for phase in moments:
        call = rng.randint(1, max(1, int(calls[phase] * each.get(phase, 0.5))))
        mode = "resume" if (run / "config.toml").is_file() else "new"
        ended = warm.run(
            "train_until", str(config), str(run), mode, phase, call, rng.uniform(0, 0.002), "none"
        )
        assert ended == -signal.SIGKILL, (phase, call)
        if not settings.datasets:
            readable(run)
    assert not (run / "result.json").exists()
    assert warm.run("train_until", str(config), str(run), "resume", "", 0, 0.0, str(counts)) == 0
    assert_same_run(run, whole)


def readable(run: Path) -> None:
    """After a kill the weights can be loaded, or do not exist yet."""
    if run.is_dir():
        try:
            load_run(run)
        except InputError as error:
            assert "has no weights yet" in error.what
