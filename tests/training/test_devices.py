"""Low precision is close to float32, parts of a step add up, and limits are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miracle_core.config import Settings
from miracle_core.data.corpus import Corpus
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.processes import ALONE
from miracle_core.ranking import loss
from miracle_core.runs.folder import RunFolder
from miracle_core.systems.miracle import miracle
from miracle_core.training import devices
from miracle_core.training.finetuning import Finetuning, finetune
from miracle_core.training.pretraining import Pretraining, pretrain
from miracle_core.training.trainer import Training
from tests.training.jobs import every_third, unlike
from tests.training.support import pretrain_settings, quick_settings, same_tensors
from tests.training.test_resume import assert_same_run, stop_at


def training_of(settings: Settings, folder: Path) -> Training:
    run = RunFolder(folder / "run")
    if settings.datasets:
        return Pretraining(settings, run, Corpus.open(settings.datasets), ALONE)
    return Finetuning(settings, run, Dataset.open(settings.data), None, ALONE)


def learned(training: Training, batch: list[int]) -> tuple[dict[str, float], dict[str, Any]]:
    """Losses and gradients of a batch with fixed weights, without noise and dropout.

    With larger weights, an item would activate another capsule in bf16, which changes far more.
    """
    unlike(training.system, 0.2)
    training.system.eval()
    names, _, values = training.learn(np.array(batch), 1.0)
    scale = training.scaler.get_scale()
    gradients = {
        name: parameter.grad / scale
        for name, parameter in training.system.named_parameters()
        if parameter.grad is not None
    }
    return dict(zip(names, values.tolist(), strict=False)), gradients


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["finetune", "cosine", "blocks", "pretrain"])
def test_low_precision_is_close_to_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, precision: str
) -> None:
    """Losses within 0.5 %, gradients within 3 % of their norm (fp16: 0.5 %), but not equal."""
    monkeypatch.setattr(miracle, "draw_mask", every_third)
    if kind == "blocks":
        monkeypatch.setattr(loss, "BLOCK_ELEMENTS", 100)
        monkeypatch.setattr(loss, "MIN_CHUNK_ROWS", 8)
    found = []
    for name in ("fp32", precision):
        changes: dict[str, Any] = {"train__precision": name}
        if kind == "pretrain":
            settings = pretrain_settings(tmp_path, **changes)
        else:
            score = {} if kind == "cosine" else {"model__score": "inner", "model__temperature": 1.0}
            settings = quick_settings(tmp_path / "data", **score, **changes)
        found.append(learned(training_of(settings, tmp_path), list(range(24))))
    (exact, d_exact), (low, d_low) = found
    for name, value in exact.items():
        assert low[name] == pytest.approx(value, rel=5e-3), name
    assert low["recommendation"] != exact["recommendation"]
    assert d_low.keys() == d_exact.keys()
    whole = torch.cat([d.flatten() for d in d_exact.values()]).norm()
    difference = torch.cat([(d_low[n] - d).flatten() for n, d in d_exact.items()]).norm()
    assert difference < {"bf16": 0.03, "fp16": 0.005}[precision] * whole
    assert all(d.dtype == torch.float32 for d in d_low.values())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns_and_resumes_to_the_same_weights(
    tmp_path: Path, precision: str
) -> None:
    settings = quick_settings(tmp_path / "data", train__precision=precision)
    finetune(settings, tmp_path / "whole")
    records = RunFolder(tmp_path / "whole").history()
    assert records[-1]["train"]["loss"] < records[0]["train"]["loss"]
    finetune(settings, tmp_path / "run", should_stop=stop_at(7))
    finetune(settings, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    exact = settings.model_copy(
        update={"train": settings.train.model_copy(update={"precision": "fp32"})}
    )
    finetune(exact, tmp_path / "exact")
    assert not same_tensors(*(tmp_path / name / "model.safetensors" for name in ("run", "exact")))
    for record, other in zip(records, RunFolder(tmp_path / "exact").history(), strict=True):
        assert record["train"]["loss"] == pytest.approx(other["train"]["loss"], rel=0.02)


def test_the_scale_of_fp16_is_in_the_checkpoint(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__precision="fp16")
    finetune(settings, tmp_path / "run", should_stop=stop_at(2))
    training = training_of(settings, tmp_path)
    before = training.scaler.state_dict()
    training.restore()
    after = training.scaler.state_dict()
    assert after["_growth_tracker"] + (before["scale"] != after["scale"]) > 0


def test_a_device_that_can_not_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(InputError, match="can't multiply in bf16") as caught:
        devices.check_precision("bf16", torch.device("cuda"))
    assert caught.value.where == "train.precision, cuda"
    devices.check_precision("fp32", torch.device("cuda"))
    monkeypatch.setattr(devices, "_able", lambda *_: False)
    settings = quick_settings(tmp_path / "data", train__precision="bf16")
    with pytest.raises(InputError, match="can't multiply in bf16"):
        finetune(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_parts_of_a_step_add_up_to_its_gradient(tmp_path: Path) -> None:
    """All terms but coverage, which depends on the items of each part.

    Noise and dropout are off, and there are 7 examples in three parts.
    """
    gradients = []
    for parts in (1, 3):
        settings = quick_settings(
            tmp_path / "data", train__accumulation=parts, model__coverage=0.0, train__clip=1e9
        )
        training = training_of(settings, tmp_path)
        unlike(training.system)
        training.system.eval()
        training.step(np.arange(7))
        training.collect()
        named = training.system.named_parameters()
        found = {n: p.grad.clone() for n, p in named if p.grad is not None}
        gradients.append((found, training.position.sums))
    (whole, sums), (added, added_sums) = gradients
    for name, gradient in whole.items():
        torch.testing.assert_close(added[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert added_sums["examples"] == sums["examples"] == 7
    assert added_sums["recommendation"] == pytest.approx(sums["recommendation"], rel=1e-6)


def test_more_parts_than_examples(tmp_path: Path) -> None:
    settings = pretrain_settings(tmp_path, train__accumulation=50, train__epochs=1)
    result = pretrain(settings, tmp_path / "run")
    assert result["status"] == "finished"
    # With one example per part, a target has no in-batch negatives.
    assert RunFolder(tmp_path / "run").history()[0]["train"]["recommendation"] == 0.0
