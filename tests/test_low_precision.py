"""Errors of low-precision scores stay within the bounds that the benchmark states."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import low_precision
from benchmarks.low_precision import TYPES, scored, wrong_by
from miracle_core.ranking.interests import Interests
from miracle_core.training.finetuning import finetune
from tests.systems.miracle.support import SEEDS, SETTINGS
from tests.training.support import quick_settings


@SETTINGS
@given(
    seed=SEEDS,
    width=st.sampled_from([1, 3, 64, 300]),
    spread=st.sampled_from([0.0, 1.0, 4.0, 9.0]),
    name=st.sampled_from(sorted(TYPES)),
)
def test_no_score_is_wrong_by_more_than_it_may_be(seed, width, spread, name):
    """Vectors of any length up to 1, including numbers that float16 represents badly."""
    rng = np.random.default_rng(seed)

    def vectors(n: int) -> torch.Tensor:
        rows = rng.normal(size=(n, width)) * 10.0 ** (-spread * rng.random((n, width)))
        rows /= np.linalg.norm(rows, axis=1).max()
        return torch.from_numpy(rows.astype(np.float32))

    users, items = vectors(6), vectors(40)
    # Copies of other items that differ only in the last digits of float32.
    items[20:] = items[:20] * (1 + torch.arange(20).unsqueeze(1) * 2.0**-23)
    interests = Interests(users, torch.arange(2).repeat(3), torch.arange(3), ((2, 3),))
    kind, unit = TYPES[name]
    low = scored(interests, users, items, None, kind).double()
    exact = (users.double() @ items.double().T).view(3, 2, -1).amax(1)
    error = wrong_by(interests, users, items, exact.float(), unit).double()
    assert bool(((low - exact).abs() <= error).all())


def test_the_head_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    finetune(quick_settings(tmp_path / "data", train__epochs=1), run)
    monkeypatch.setattr(sys, "argv", ["low_precision", str(run), "--json"])
    low_precision.main()
    (found,) = json.loads(capsys.readouterr().out).values()
    assert (found["users"], found["items"]) == (11, 30)
    # A few pairs in float16, which CPUs may round differently, against some forty in bfloat16.
    assert 0 <= found["float16"]["share"] < found["bfloat16"]["share"] < 1
    assert found["bfloat16"]["mean"] == pytest.approx(
        found["bfloat16"]["share"] * found["items"], rel=1e-9
    )
