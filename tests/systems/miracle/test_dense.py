"""The dense comparison in the benchmarks computes the same as the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.dense import DenseMiracle, pad, target_ranks, training_step
from miracle_core.data.packed import pack_lists
from miracle_core.ranking.order import ranks, tie_order
from miracle_core.ranking.walk import walk
from miracle_core.systems.base import ItemSide
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.systems.miracle.settings import MiracleSettings
from tests.systems.miracle.support import batch_of, histories_of, randomise

N, ITEMS, TEXT_WIDTH, USERS = 6, 40, 10, 12


def pair(
    n_items: int | None = ITEMS, gain: bool = True, **options: object
) -> tuple[Miracle, DenseMiracle]:
    settings = MiracleSettings(width=8, capsules=7, experts=3, max_length=N, inner=9, **options)  # type: ignore[arg-type]
    ours = randomise(Miracle(settings, TEXT_WIDTH, n_items, gain=gain), 0)
    dense = DenseMiracle(settings, TEXT_WIDTH, n_items, gain=gain).double().eval()
    dense.load_state_dict(ours.state_dict())
    return ours, dense


def batch(seed: int = 0):
    rng = np.random.default_rng(seed)
    histories = histories_of(rng.integers(1, N + 3, USERS).tolist(), rng, ITEMS)
    ends = np.cumsum([len(history) for history in histories])
    starts = ends - [len(history) for history in histories]
    items, valid = pad(np.concatenate(histories), starts, ends, N)
    targets = torch.from_numpy(rng.integers(0, ITEMS, USERS))
    return torch.from_numpy(rng.normal(size=(ITEMS, TEXT_WIDTH))), histories, items, valid, targets


def test_padding():
    items, valid = pad(np.array([9, 1, 2, 3, 7]), np.array([1, 4, 0]), np.array([4, 5, 5]), 4)
    assert items.tolist() == [[0, 1, 2, 3], [0, 0, 0, 7], [1, 2, 3, 7]]
    assert valid.tolist() == [[False, True, True, True], [False, False, False, True], [True] * 4]


PRINTED = {"score": "inner", "temperature": 1.0, "gain": False}


@pytest.mark.parametrize("score", [{}, PRINTED], ids=["default", "printed"])
@pytest.mark.parametrize("agreement", ["h", "q"])
@pytest.mark.parametrize("positional", [True, False])
@pytest.mark.parametrize("n_items", [ITEMS, None])
def test_losses_and_gradients_are_ours(score, agreement, positional, n_items):
    ours, dense = pair(n_items, agreement=agreement, positional=positional, **score)
    text, histories, items, valid, targets = batch()
    mine = ours.objective(ItemSide(text), batch_of(histories, targets.tolist(), N))
    total, terms = dense.losses(text, items, valid, targets)
    assert terms.keys() == mine.terms.keys()
    for name, value in mine.terms.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(total, mine.total, rtol=1e-10, atol=1e-10)
    mine.total.backward()
    total.backward()
    theirs = dict(dense.named_parameters())
    for name, parameter in ours.named_parameters():
        if name == "adaptor.noise_weight":  # unused in evaluation mode
            continue
        torch.testing.assert_close(theirs[name].grad, parameter.grad, rtol=1e-8, atol=1e-11)


def test_ranks_are_ours():
    ours, dense = pair()
    text, histories, items, valid, targets = batch(1)
    packed = pack_lists(histories, N)
    with torch.inference_mode():
        x = ours.inputs(ItemSide(text))
        output = ours(x[packed.items], packed)
        interests = output.interests.replace_vectors(ours.user_vectors(output))
        x = ours.candidates(x)
        own = packed.order[interests.users]
        expected = torch.empty(USERS, dtype=torch.int64)
        for part in walk(interests, x, ours.seen(interests, packed)):
            callers = own[part.users]
            expected[callers] = ranks(part.scores, targets[callers], tie_order(ITEMS))
    assert torch.equal(target_ranks(dense, text, items, valid, targets, batch_users=5), expected)


def test_a_step_learns():
    _, dense = pair()
    text, _, items, valid, targets = batch(2)
    dense.train()
    optimizer = torch.optim.AdamW(dense.parameters(), lr=1e-2, weight_decay=0.0)
    losses = [
        training_step(dense, optimizer, text, items, valid, targets).item() for _ in range(30)
    ]
    assert losses[-1] < losses[0]
