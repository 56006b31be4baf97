"""SASRec compared with its paper, one history at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.config import make_settings
from miracle_core.data.packed import pack_lists
from miracle_core.errors import InputError
from miracle_core.runs.opening import build_system
from miracle_core.systems.base import ItemSide, Sizes
from miracle_core.systems.sasrec.system import SASRec
from tests.reference.basics import layer_norm
from tests.reference.sequences import sasrec_block
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    N,
    f64,
    histories_of,
    layer_of,
    per_history,
    randomise,
)
from tests.systems.support import beats_popularity, overfits

N_ITEMS = 9


def small(**changes: object) -> SASRec:
    own = {"kind": "sasrec", "width": 6, "inner": 8, "max_length": N, **changes}
    system = build_system(make_settings({"model": own}), Sizes(N_ITEMS))
    assert isinstance(system, SASRec)
    return system


def reference_states(system: SASRec, history: list[int], norm: str, activation: str) -> list:
    """The state of every item in a history of at most N items."""
    items, places = f64(system.item), f64(system.position)
    scale, shift = f64(system.norm.weight), f64(system.norm.bias)
    rows = [items[item] + places[N - len(history) + i] for i, item in enumerate(history)]
    if norm == "post":
        rows = [layer_norm(row, scale, shift) for row in rows]
    for module in system.layers:
        rows = sasrec_block(rows, layer_of(module), module.heads, norm, activation)
    return [layer_norm(row, scale, shift) for row in rows] if norm == "pre" else rows


@pytest.mark.parametrize(
    ("norm", "activation", "heads"), [("pre", "relu", 1), ("post", "gelu", 2), ("pre", "gelu", 3)]
)
@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, layers=st.integers(1, 2))
def test_every_state_is_the_papers(norm, activation, heads, seed, lengths, layers):
    system = randomise(small(norm=norm, activation=activation, heads=heads, layers=layers), seed)
    histories = histories_of(lengths, np.random.default_rng(seed), N_ITEMS)
    packed = pack_lists(histories, N)
    tokens = system.inputs(ItemSide())[packed.items]
    found = per_history(packed, system.hidden(tokens, packed))
    for history, states in zip(histories, found, strict=True):
        expected = reference_states(system, history, norm, activation)
        np.testing.assert_allclose(states, expected, **TOLERANCE)
    newest = system.encode(tokens, packed).interests.vectors.detach()
    expected = [reference_states(system, histories[n], norm, activation)[-1] for n in packed.order]
    np.testing.assert_allclose(newest, expected, **TOLERANCE)


def test_scores_are_inner_products_with_the_newest_items_state():
    """Eq. 5: input and score share one embedding, and only the newest N items are read."""
    system = randomise(small(), 3)
    history = [1, 8, 2, 2, 7, 0, 4]
    ((_, found),) = system.scorer(ItemSide(), gain=False).scores(pack_lists([history], N)).chunks
    state = reference_states(system, history[-N:], "post", "gelu")[-1]
    np.testing.assert_allclose(found[0], f64(system.item) @ state, **TOLERANCE)


def test_the_papers_preset():
    settings = make_settings({"preset": "paper", "model": {"kind": "sasrec"}})
    own = settings.model
    assert (own.width, own.heads, own.inner, own.layers, own.dropout) == (50, 1, 50, 2, 0.5)
    assert (own.norm, own.activation, own.max_length) == ("pre", "relu", 50)
    assert (settings.loss.recommendation, settings.loss.negatives) == ("bce", 1)
    assert (settings.train.batch_size, settings.train.learning_rate) == (128, 1e-3)
    assert settings.seen == "as-printed"


def test_heads_divide_the_width():
    with pytest.raises(InputError, match="width 64 is not a multiple of heads 3"):
        make_settings({"model": {"kind": "sasrec", "heads": 3}})


def test_overfits_sequences_that_repeat(tmp_path: Path):
    overfits(tmp_path, {"kind": "sasrec", "width": 16, "inner": 16, "dropout": 0.0})


def test_beats_popularity_on_the_demo_shop(tmp_path: Path):
    beats_popularity(tmp_path, {"kind": "sasrec", "width": 32, "inner": 64, "dropout": 0.2})
