"""FDSA compared with its paper, one history at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.config import make_settings
from miracle_core.data.packed import pack_lists
from miracle_core.errors import InputError
from miracle_core.processes import ALONE
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import build_system, load_run
from miracle_core.runs.tensors import load_tensors
from miracle_core.systems.attributes import ItemAttributes
from miracle_core.systems.base import ItemSide, Sizes
from miracle_core.systems.fdsa.system import FDSA
from miracle_core.training.finetuning import finetune
from tests.reference.basics import layer_norm
from tests.reference.sequences import sasrec_block, vanilla_attention
from tests.support.runs import tiny_shop
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    N,
    batch_of,
    f64,
    histories_of,
    per_history,
    randomise,
)
from tests.systems.sasrec.test_sasrec import layer_of
from tests.systems.support import beats_popularity, overfits

N_ITEMS, TEXT = 9, 4
# Brands are 0 to 2, categories 3 to 6. Item 2 has no brand, item 3 nothing, item 5 more categories.
VALUES = [[0, 3], [1, 4], [5], [], [2, 3], [0, 4, 5, 6], [1], [2, 6], [0, 3, 6]]
SIZES = (3, 4)


def attributes() -> ItemAttributes:
    rows = [(item, value) for item, own in enumerate(VALUES) for value in own]
    items, values = (torch.tensor(column) for column in zip(*rows, strict=True))
    return ItemAttributes.of_rows(items, values, SIZES)


def small(sizes: tuple[int, ...] = SIZES, **changes: object) -> FDSA:
    own = {"kind": "fdsa", "width": 6, "inner": 8, "max_length": N, **changes}
    system = build_system(make_settings({"model": own}), Sizes(N_ITEMS, TEXT, sizes))
    assert isinstance(system, FDSA)
    return system


def item_side(seed: int, *, with_attributes: bool = True) -> ItemSide:
    text = torch.from_numpy(np.random.default_rng(seed).normal(size=(N_ITEMS, TEXT)))
    return ItemSide(text, attributes=attributes() if with_attributes else None)


def reference_feature(system: FDSA, item: int, text: Any, values: list[int]) -> Any:
    """f_i of one item: its text, the mean of its brands and the mean of its categories."""
    own = system.features
    vectors = [f64(own.text.weight) @ text + f64(own.text.bias)]
    for low, high in ((0, 3), (3, 7)):
        mine = [f64(own.value)[value] for value in values if low <= value < high]
        if mine:
            vectors.append(sum(mine) / len(mine))
    weights = {
        "W": f64(own.hidden.weight),
        "b": f64(own.hidden.bias),
        "w": f64(own.logit.weight)[0],
        "c": f64(own.logit.bias)[0],
    }
    return vanilla_attention(vectors, weights)


def reference_stream(stream: Any, rows: list[Any], activation: str) -> list[Any]:
    """Add positions, normalise, then apply the blocks."""
    places, scale, shift = f64(stream.position), f64(stream.norm.weight), f64(stream.norm.bias)
    first = N - len(rows)
    rows = [layer_norm(row + places[first + i], scale, shift) for i, row in enumerate(rows)]
    for layer in stream.layers:
        rows = sasrec_block(rows, layer_of(layer), layer.heads, "post", activation)
    return rows


def reference_states(
    system: FDSA, side: ItemSide, history: list[int], activation: str = "gelu"
) -> list[Any]:
    values = VALUES if side.attributes is not None else [[]] * N_ITEMS
    features = [
        reference_feature(system, item, f64(side.text)[item], values[item]) for item in history
    ]
    items = [f64(system.item)[item] for item in history]
    both = zip(
        reference_stream(system.item_stream, items, activation),
        reference_stream(system.feature_stream, features, activation),
        strict=True,
    )
    weight, bias = f64(system.output.weight), f64(system.output.bias)
    scale, shift = f64(system.output_norm.weight), f64(system.output_norm.bias)
    return [layer_norm(weight @ np.concatenate(pair) + bias, scale, shift) for pair in both]


@pytest.mark.parametrize("with_attributes", [True, False])
@pytest.mark.parametrize(("activation", "heads"), [("relu", 1), ("gelu", 2)])
@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, layers=st.integers(1, 2))
def test_every_state_is_the_papers(with_attributes, activation, heads, seed, lengths, layers):
    sizes = SIZES if with_attributes else ()
    system = small(sizes, activation=activation, heads=heads, layers=layers)
    randomise(system, seed)
    side = item_side(seed, with_attributes=with_attributes)
    histories = histories_of(lengths, np.random.default_rng(seed), N_ITEMS)
    packed = pack_lists(histories, N)
    tokens = system.inputs(side)[packed.items]
    found = per_history(packed, system.hidden(tokens, packed))
    for history, states in zip(histories, found, strict=True):
        expected = reference_states(system, side, history, activation)
        np.testing.assert_allclose(states, expected, **TOLERANCE)


def test_scores_are_inner_products_with_the_item_stream():
    """Only the newest N items are read."""
    system, side = randomise(small(), 3), item_side(3)
    history = [1, 8, 2, 2, 7, 0, 4]
    ((_, found),) = system.scorer(side, gain=False).scores(pack_lists([history], N)).chunks
    state = reference_states(system, side, history[-N:])[-1]
    np.testing.assert_allclose(found[0], f64(system.item) @ state, **TOLERANCE)


def test_an_item_without_attributes_is_its_text():
    system, side = randomise(small(), 5), item_side(5)
    features = system.inputs(side).chunk(2, 1)[1]
    text = system.features.text(side.text)
    torch.testing.assert_close(features[3], text[3])
    assert not torch.allclose(features[2], text[2])


def test_gradients_reach_every_weight():
    system, side = randomise(small(), 1), item_side(1)
    histories = [[0, 1, 2, 3, 4], [5, 6], [7, 8, 3]]
    system.objective(side, batch_of(histories, [1, 2, 3]), ALONE).total.backward()
    for name, weight in system.named_parameters():
        assert weight.grad is not None, name
        # Adding a constant to every logit, or to every key, does not change a softmax.
        assert name == "features.logit.bias" or float(weight.grad.abs().max()) > 0, name


def test_attributes_of_some_items_as_a_table():
    found = attributes().table(torch.tensor([5, 3, 0, 5]))
    expected = torch.zeros(4, sum(SIZES), dtype=torch.bool)
    for row, item in enumerate([5, 3, 0, 5]):
        expected[row, VALUES[item]] = True
    assert torch.equal(found, expected)
    assert attributes().table(torch.tensor([], dtype=torch.int64)).shape == (0, 7)


def test_a_run_names_the_attributes_it_read_and_refuses_others(tmp_path: Path) -> None:
    """With other attributes, the numbers of values would have other meanings."""
    data = tiny_shop(tmp_path / "data", attributes=True)
    other = tiny_shop(tmp_path / "other")
    model = {"kind": "fdsa", "width": 4, "layers": 1, "inner": 4, "max_length": 5}
    asked = {"data": str(data.folder), "model": model, "train": {"epochs": 1}}
    run = tmp_path / "run"
    assert finetune(make_settings(asked), run)["attributes"] == {"letter": 4, "shelf": 4}
    assert "Attributes: letter (4 values), shelf (4 values)." in (run / "README.md").read_text()
    again = load_run(run, data)
    assert again.items.attributes is not None
    assert again.items.attributes.sizes == (4, 4)
    with pytest.raises(InputError, match="other attributes than those that the run was trained on"):
        load_run(run, other)
    asked["data"] = str(other.folder)
    assert finetune(make_settings(asked), tmp_path / "bare")["attributes"] == {}


def test_the_papers_preset():
    settings = make_settings({"preset": "paper", "model": {"kind": "fdsa"}})
    assert (settings.model.activation, settings.model.max_length) == ("relu", 50)
    assert (settings.loss.recommendation, settings.loss.negatives) == ("bce", 1)
    assert settings.seen == "as-printed"


def test_heads_divide_the_width():
    with pytest.raises(InputError, match="width 64 is not a multiple of heads 3"):
        make_settings({"model": {"kind": "fdsa", "heads": 3}})


def test_overfits_sequences_that_repeat(tmp_path: Path):
    overfits(
        tmp_path, {"kind": "fdsa", "width": 16, "layers": 1, "inner": 16, "dropout": 0.0}, text=True
    )


def test_beats_popularity_on_the_demo_shop(tmp_path: Path):
    beats_popularity(
        tmp_path, {"kind": "fdsa", "width": 32, "inner": 64, "dropout": 0.2}, text=True
    )
    weights, _ = load_tensors(RunFolder(tmp_path / "learned").weights)
    assert len(weights["features.value"]) > 10  # the shop's brands and categories
