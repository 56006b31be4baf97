"""benchmarks/gpu.py: run its measurements on the CPU; its message without a GPU."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import gpu, step
from miracle_core.systems.miracle.settings import MiracleSettings

SMALL = MiracleSettings(width=16, capsules=4, experts=2, layers=1, inner=8)


def test_every_precision_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "problem", lambda s, batch: step.problem_with(s, batch, 50))
    found = gpu.measure(torch.device("cpu"), 32, 1, SMALL)
    assert found["fp32_loss_error"] == found["fp32_gradient_error"] == 0.0
    for precision in ("bf16", "fp16"):
        assert found[f"{precision}_gradient_error"] > 0
        assert found[f"{precision}_examples_per_second"] > 0
    assert gpu.too_far(found) == []


def test_an_error_beyond_what_is_promised_is_named() -> None:
    found = {"fp32_loss_error": 2e-5, "bf16_loss_error": 2e-5, "fp16_loss_error": float("nan")}
    found |= {"fp32_gradient_error": 1.0, "bf16_gradient_error": 1.0}
    assert gpu.too_far(found) == [
        "fp32_loss_error", "fp32_gradient_error", "fp16_loss_error",
    ]  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--json"])
    assert gpu.main() == 0
    assert json.loads(capsys.readouterr().out) == {"device": None}
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 0
    assert "no GPU on this machine" in capsys.readouterr().out
