"""Unsold items in the catalogue are not trained as negatives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import build_system, sizes_of
from miracle_core.runs.tensors import load_tensors
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.text import encode_dataset
from miracle_core.training.finetuning import finetune
from tests.data.test_filters import Row, interactions
from tests.support.runs import ENCODER
from tests.training.support import quick_settings

# Nobody bought g and h. e and f are bought last and held out, so training does not see them.
ROWS: list[Row] = [(user, item, n) for user in "uvwxyz" for n, item in enumerate("abcdef")]


@pytest.mark.parametrize("kept", [True, False])
def test_only_what_was_sold_competes_in_the_loss(tmp_path: Path, kept: bool) -> None:
    data = tmp_path / "data"
    dataset = prepare(interactions(ROWS), PrepareSettings(k_core=0, keep_unsold=True), data)
    if not kept:  # like a Dataset with cold items for another reason
        manifest = json.loads((data / "manifest.json").read_text())
        manifest["settings"]["keep_unsold"] = False
        (data / "manifest.json").write_text(json.dumps(manifest))
    dataset = encode_dataset(data, ENCODER)
    settings = quick_settings(data, train__epochs=2)
    torch.manual_seed(settings.train.seed)
    fresh = build_system(settings, sizes_of(settings, dataset))
    assert isinstance(fresh, Miracle)
    before = fresh.identity
    finetune(settings, tmp_path / "run")
    weights, _ = load_tensors(RunFolder(tmp_path / "run").weights)
    assert before is not None
    moved = (weights["identity"] - before.detach()).abs().amax(1).numpy() > 1e-6
    assert dataset.training_counts().tolist() == [6, 6, 6, 6, 0, 0, 0, 0]
    assert np.flatnonzero(moved).tolist() == ([0, 1, 2, 3] if kept else list(range(8)))
