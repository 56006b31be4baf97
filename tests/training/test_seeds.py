"""Several seeds: each run equals a run with that seed alone, and the metrics are averaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miracle_core.config import Settings
from miracle_core.errors import InputError
from miracle_core.training.finetuning import finetune
from miracle_core.training.seeds import finetune_seeds
from tests.training.support import quick_settings, same_tensors
from tests.training.test_resume import stop_at


def test_three_seeds(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=1, train__seed=7)
    summary = finetune_seeds(settings, tmp_path / "out", 3)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert summary["seeds"] == [7, 8, 9]
    for run in summary["runs"]:
        result = json.loads((tmp_path / "out" / run["run"] / "result.json").read_text())
        assert result["test"] == run["test"] and run["run"] == f"seed-{run['seed']}"
    for split in ("valid", "test"):
        for name in summary["runs"][0][split]:
            values = [run[split][name] for run in summary["runs"]]
            assert summary["mean"][split][name] == pytest.approx(np.mean(values))
            assert summary["deviation"][split][name] == pytest.approx(np.std(values, ddof=1))
    alone = settings.model_copy(update={"train": settings.train.model_copy(update={"seed": 8})})
    finetune(alone, tmp_path / "alone")
    weights = "model.safetensors"
    assert same_tensors(tmp_path / "alone" / weights, tmp_path / "out" / "seed-8" / weights)


def test_interrupted_and_resumed(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=2)
    whole = finetune_seeds(settings, tmp_path / "whole", 3)
    trained: list[tuple[int, bool]] = []

    def stopping(own: Settings, path: Path, go_on: bool) -> dict[str, Any]:
        trained.append((own.train.seed, go_on))
        second = own.train.seed == settings.train.seed + 1
        return finetune(own, path, resume=go_on, should_stop=stop_at(*([3] if second else [])))

    out = tmp_path / "out"
    assert finetune_seeds(settings, out, 3, train=stopping)["status"] == "interrupted"
    assert not (out / "summary.json").exists()
    assert [seed for seed, _ in trained] == [2023, 2024]
    trained.clear()

    def silently(own: Settings, path: Path, go_on: bool) -> dict[str, Any]:
        trained.append((own.train.seed, go_on))
        return finetune(own, path, resume=go_on)

    summary = finetune_seeds(settings, out, 3, resume=True, train=silently)
    assert trained == [(2024, True), (2025, False)]
    for found in (summary, whole):
        for run in found["runs"]:
            run.pop("seconds")
    assert summary == whole


def test_a_folder_that_is_taken(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=1)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="already holds something"):
        finetune_seeds(settings, tmp_path / "notes", 2)
    with pytest.raises(InputError, match="holds no runs of seeds"):
        finetune_seeds(settings, tmp_path / "notes", 2, overwrite=True)
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"
    finetune_seeds(settings, tmp_path / "out", 2)
    with pytest.raises(InputError, match="already holds something"):
        finetune_seeds(settings, tmp_path / "out", 2)
    again = settings.model_copy(update={"train": settings.train.model_copy(update={"epochs": 2})})
    summary = finetune_seeds(again, tmp_path / "out", 2, overwrite=True)
    assert [run["epochs"] for run in summary["runs"]] == [2, 2]
