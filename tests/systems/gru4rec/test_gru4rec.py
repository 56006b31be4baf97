"""GRU4Rec's gates compared with the paper's equations, one history at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.config import make_settings
from miracle_core.data.packed import pack_lists
from miracle_core.runs.opening import build_system
from miracle_core.systems.base import ItemSide, Sizes
from miracle_core.systems.gru4rec.system import GRU4Rec, by_step
from tests.reference.sequences import gru
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    N,
    f64,
    histories_of,
    per_history,
    randomise,
)
from tests.systems.support import beats_popularity, overfits

N_ITEMS = 9


def small(layers: int = 1) -> GRU4Rec:
    own = {"kind": "gru4rec", "width": 4, "hidden": 5, "layers": layers, "max_length": N}
    system = build_system(make_settings({"model": own}), Sizes(N_ITEMS))
    assert isinstance(system, GRU4Rec)
    return system


def gates_of(layer: torch.nn.GRU) -> dict[str, np.ndarray]:
    """Split torch's stacked weights into reset gate, update gate and candidate."""
    Wr, Wz, W = np.split(f64(layer.weight_ih_l0), 3)
    Ur, Uz, U = np.split(f64(layer.weight_hh_l0), 3)
    return {"Wr": Wr, "Wz": Wz, "W": W, "Ur": Ur, "Uz": Uz, "U": U}


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, layers=st.integers(1, 2))
def test_every_state_is_that_of_the_gates(seed, lengths, layers):
    system = randomise(small(layers), seed)
    histories = histories_of(lengths, np.random.default_rng(seed), N_ITEMS)
    packed = pack_lists(histories, N)
    tokens = system.inputs(ItemSide())[packed.items]
    found = per_history(packed, system.hidden(tokens, packed))
    weight, bias = f64(system.output.weight), f64(system.output.bias)
    for history, states in zip(histories, found, strict=True):
        rows = [f64(system.item)[item] for item in history]
        for layer in system.layers:
            rows = gru(rows, gates_of(layer))
        np.testing.assert_allclose(states, [weight @ h + bias for h in rows], **TOLERANCE)


@SETTINGS
@given(lengths=LENGTHS)
def test_steps_take_the_oldest_items_first_and_longer_histories_before_others(lengths):
    histories = [[place] * length for place, length in enumerate(lengths)]
    packed = pack_lists(histories, N)
    order, steps = by_step(packed)
    places, owners = packed.places()[order], packed.history_of_token()[order]
    assert places.tolist() == sorted(places.tolist())
    assert steps.tolist() == [sum(n > step for n in lengths) for step in range(max(lengths))]
    sizes = packed.lengths()
    for step in range(max(lengths)):
        own = owners[places == step].tolist()
        # All steps use the same order, so that each state meets its own history.
        assert own == sorted(own, reverse=True)
        assert all(sizes[history] > step for history in own)


def test_dropout_is_of_the_input_in_training_only():
    system = randomise(small(), 1)
    packed = pack_lists([[1, 2, 3]], N)
    tokens = system.item[packed.items]
    quiet = system.hidden(tokens, packed)
    assert torch.equal(quiet, system.hidden(tokens, packed))
    system.train()
    assert not torch.equal(quiet, system.hidden(tokens, packed))


def test_the_papers_preset():
    settings = make_settings({"preset": "paper", "model": {"kind": "gru4rec"}})
    assert (settings.model.hidden, settings.model.layers) == (100, 1)
    assert (settings.loss.recommendation, settings.loss.negatives) == ("bpr-max", 2048)
    assert settings.seen == "as-printed"


@pytest.mark.parametrize("loss", ["softmax", "bpr-max"])
def test_overfits_sequences_that_repeat(tmp_path: Path, loss: str):
    overfits(tmp_path, {"kind": "gru4rec", "width": 16, "hidden": 16, "dropout": 0.0}, loss)


def test_beats_popularity_on_the_demo_shop(tmp_path: Path):
    beats_popularity(tmp_path, {"kind": "gru4rec", "width": 32, "hidden": 32})
