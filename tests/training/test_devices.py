"""Low precision stays close to float32, parts of a step add up, what can't be is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._inductor.config

from miracle_core.config import ModelSettings, Settings
from miracle_core.data.corpus import Corpus
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.model import scoring
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.processes import ALONE
from miracle_core.training import devices, pretraining
from miracle_core.training.finetuning import Finetuning, finetune
from miracle_core.training.pretraining import Pretraining, pretrain
from miracle_core.runs.folder import RunFolder
from miracle_core.training.trainer import Training
from tests.training.jobs import every_third, unlike
from tests.training.support import pretrain_settings, quick_settings, same_tensors
from tests.training.test_resume import assert_same_run, stop_at

CPU = torch.device("cpu")


def training_of(settings: Settings, folder: Path) -> Training:
    run = RunFolder(folder / "run")
    if settings.datasets:
        return Pretraining(settings, run, Corpus.open(settings.datasets), ALONE)
    return Finetuning(settings, run, Dataset.open(settings.data), None, ALONE)


def learned(training: Training, batch: list[int]) -> tuple[dict[str, float], dict[str, Any]]:
    """Losses and gradients of a batch, noise and dropout off, weights the same each time.

    With larger weights an item here activates another capsule in bf16, which changes far more.
    """
    unlike(training.model, 0.2)
    training.model.eval()
    names, values = training.learn(np.array(batch), 1.0)
    scale = training.scaler.get_scale()
    gradients = {
        name: parameter.grad / scale
        for name, parameter in training.model.named_parameters()
        if parameter.grad is not None
    }
    return dict(zip(names, values.tolist(), strict=False)), gradients


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["finetune", "cosine", "blocks", "pretrain"])
def test_low_precision_is_close_to_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, precision: str
) -> None:
    """Losses to 0.5 %, gradients to 3 % of their norm (fp16: 0.5 %); and it is not float32."""
    monkeypatch.setattr(pretraining, "draw_mask", every_third)
    if kind == "blocks":
        monkeypatch.setattr(scoring, "BLOCK_ELEMENTS", 100)
        monkeypatch.setattr(scoring, "MIN_CHUNK_ROWS", 8)
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
    """All that is a mean over examples or of the weights alone; coverage is of a part's own items.

    Noise and dropout off, 7 examples in three parts.
    """
    gradients = []
    for parts in (1, 3):
        settings = quick_settings(
            tmp_path / "data", train__accumulation=parts, loss__coverage=0.0, train__clip=1e9
        )
        training = training_of(settings, tmp_path)
        unlike(training.model)
        training.model.eval()
        training.step(np.arange(7))
        named = training.model.named_parameters()
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
    # Alone in its part, a target has no negatives.
    assert RunFolder(tmp_path / "run").history()[0]["train"]["recommendation"] == 0.0


def test_without_a_compiler_compiling_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Compiler: g++ is not found.\nmore")

    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **_: setattr(self, "_compiled_call_impl", no_compiler),
    )
    settings = quick_settings(tmp_path / "data", train__compile=True)
    with pytest.raises(InputError, match=r"can't compile here: Compiler: g\+\+ is not found\. \("):
        finetune(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_triton_its_kernels_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda _: None)
    settings = quick_settings(tmp_path / "data", train__kernels="triton")
    with pytest.raises(InputError, match=r"train\.kernels: Triton is not installed \(leave it at"):
        finetune(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("device", "error", "says"),
    [
        ("cpu", 0.0, "need a GPU of CUDA, and this is cpu"),
        ("cuda", 0.01, "compute something else here .relative error 1.0e-02"),
        ("cuda", float("nan"), "compute something else here .relative error nan"),
        ("cuda", RuntimeError("PTX is too new.\nmore"), r"don't run here: PTX is too new. \("),
    ],
)
def test_kernels_that_do_not_work_here_are_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, error: Any, says: str
) -> None:
    def triton_error(*_: Any) -> Any:
        if isinstance(error, Exception):
            raise error
        return error

    monkeypatch.setattr(devices, "find_spec", lambda _: object())
    monkeypatch.setattr(devices, "triton_error", triton_error)
    model = Miracle(ModelSettings(width=4, heads=1), 3)
    with pytest.raises(InputError, match=says) as caught:
        devices.use_triton(model, "fp32", torch.device(device))
    assert caught.value.where == "train.kernels"
    assert not model.triton


def test_kernels_that_work_here_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda _: object())
    monkeypatch.setattr(devices, "triton_error", lambda *_: 1e-6)
    model = Miracle(ModelSettings(width=4, heads=1), 3)
    devices.use_triton(model, "fp32", torch.device("cuda"))
    assert model.triton


@pytest.mark.skipif(shutil.which("c++") is None, reason="compiling needs a C++ compiler")
def test_compiled_layers_compute_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._inductor.config, "compile_threads", 1)
    found = []
    for compiled in (False, True):
        # One layer (eq. 10) is enough: each takes seconds to compile.
        settings = quick_settings(
            tmp_path / "data", train__compile=compiled, model__positional=False
        )
        training = training_of(settings, tmp_path)
        assert (training.model.capsules.features._compiled_call_impl is not None) == compiled
        found.append([learned(training, batch) for batch in ([1, 5, 9], list(range(20)))])
    for (losses, gradients), (others, their_gradients) in zip(*found, strict=True):
        assert others == pytest.approx(losses, rel=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(their_gradients[name], gradient, rtol=1e-4, atol=1e-5)
