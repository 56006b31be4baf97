"""ComiRec compared with plain loops over single padded histories; what it learns."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from miracle_core.recommender import Recommender
from miracle_core.systems.comirec.extractors import DynamicRouting, SelfAttention
from miracle_core.systems.comirec.system import ComiRec
from tests.support import interests
from tests.support.interests import LENGTH, WIDTH, by_history, histories, padded, small, squash

ROUTINGS = ["dr", "sa"]


def system(routing: str, **own: object) -> ComiRec:
    found = small("comirec", routing=routing, **own)
    assert isinstance(found, ComiRec)
    return found


def dynamic_routing(rows: np.ndarray, real: np.ndarray, W: np.ndarray, r: int) -> np.ndarray:
    """Eq. 1-5 and algorithm 1 for one padded history; W [N, K, d, d]."""
    places = [i for i in range(len(rows)) if real[i]]
    K = W.shape[1]
    e = {(i, j): W[i, j] @ rows[i] for i in places for j in range(K)}
    b = dict.fromkeys(e, 0.0)
    for _ in range(r):
        c = {}
        for i in places:
            total = sum(math.exp(b[i, j]) for j in range(K))
            for j in range(K):
                c[i, j] = math.exp(b[i, j]) / total
        v = [squash(sum(c[i, j] * e[i, j] for i in places)) for j in range(K)]
        for i in places:
            for j in range(K):
                b[i, j] += float(e[i, j] @ v[j])
    return np.array(v)


def self_attention(
    rows: np.ndarray, real: np.ndarray, P: np.ndarray, W1: np.ndarray, W2: np.ndarray
) -> np.ndarray:
    """Eq. 6-8 for one padded history."""
    places = [i for i in range(len(rows)) if real[i]]
    found = []
    for head in W2:
        a = [float(head @ np.tanh(W1 @ (rows[i] + P[i]))) for i in places]
        weights = [math.exp(x - max(a)) for x in a]
        found.append(sum(w / sum(weights) * rows[i] for w, i in zip(weights, places, strict=True)))
    return np.array(found)


@pytest.mark.parametrize("K", [1, 3])
def test_dynamic_routing_is_the_papers(K: int) -> None:
    model, given = system("dr", interests=K), histories()
    assert isinstance(model.extractor, DynamicRouting)
    W = model.extractor.maps.detach().numpy()
    for history, own in zip(given, by_history(model, given), strict=True):
        rows, real = padded(model, history)
        np.testing.assert_allclose(own, dynamic_routing(rows, real, W, 3), atol=1e-12)


@pytest.mark.parametrize("K", [1, 3])
def test_self_attention_is_the_papers(K: int) -> None:
    model, given = system("sa", interests=K), histories()
    assert isinstance(model.extractor, SelfAttention)
    own = model.extractor
    weights = [w.detach().numpy() for w in (own.position, own.hidden, own.heads)]
    assert weights[1].shape == (4 * WIDTH, WIDTH)
    for history, found in zip(given, by_history(model, given), strict=True):
        rows, real = padded(model, history)
        np.testing.assert_allclose(found, self_attention(rows, real, *weights), atol=1e-12)


def test_interests_start_near_their_items() -> None:
    torch.manual_seed(0)
    extractor = DynamicRouting(32, 3, LENGTH, 3)
    items = torch.randn(20, 32)
    with torch.no_grad():
        found = extractor(items, interests.packed([[item] for item in range(20)])).view(20, 3, 32)
    assert float(torch.cosine_similarity(found, items.unsqueeze(1), dim=2).min()) > 0.95


def test_the_nearest_interest_is_the_user() -> None:
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 2.0]]])
    found = system("sa").chosen(vectors, torch.tensor([[3.0, 1.0], [1.0, 1.0]]))
    assert found.tolist() == [[1.0, 0.0], [0.0, 2.0]]


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("score", ["inner", "cosine"])
def test_the_loss_is_a_softmax_over_the_catalogue(routing: str, score: str) -> None:
    model, given = system(routing, score=score), histories()
    expected = []
    for history, own in zip(given, by_history(model, given), strict=True):
        items = model.item.detach().numpy()
        if score == "cosine":
            items = items / np.linalg.norm(items, axis=1, keepdims=True)
            own = own / np.linalg.norm(own, axis=1, keepdims=True)
        target = interests.target_of(history)
        v = own[int(np.argmax([float(u @ items[target]) for u in own]))]
        scores = items @ v / model.temperature
        high = scores.max()
        expected.append(high + math.log(np.exp(scores - high).sum()) - scores[target])
    assert interests.loss_of(model, given) == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_two_processes_share_a_loss(routing: str) -> None:
    model, given = system(routing, seen="gain"), histories()
    shared = interests.loss_in_two(model, given)
    assert shared == pytest.approx(interests.loss_of(model, given), rel=1e-9)


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("score", ["inner", "cosine"])
def test_what_items_add_sums_to_every_score(routing: str, score: str) -> None:
    interests.check_explanations(system(routing, score=score))


@pytest.mark.parametrize("routing", ROUTINGS)
def test_an_interest_is_told_by_the_best_item_that_it_won(tmp_path: Path, routing: str) -> None:
    model = {"kind": "comirec", "routing": routing, "width": 8, "max_length": LENGTH}
    data = interests.chains(tmp_path / "data")
    interests.trained(data, tmp_path / "run", {"model": model, "train": {"epochs": 1}})
    recommender = Recommender.load(tmp_path / "run")
    assert recommender.abilities.interests
    assert not recommender.abilities.capsules
    found = recommender.recommend([0, 1, 7], 12)
    assert sorted(own.capsule for own in found.capsules) == [0, 1, 2, 3]
    for own in found.capsules:
        assert own.label == (own.best[0].title if own.best else f"interest {own.capsule}")
    assert found.trace is not None
    routed = [own.capsule for own in found.capsules]
    assert [item.capsule for item in found.history] == [
        routed[place] for place in found.trace.routing.argmax(1).tolist()
    ]
    for item in found.items:
        assert sum(item.contributions) + item.repeat == pytest.approx(item.score, abs=1e-5)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_it_learns_what_is_certain(tmp_path: Path, routing: str) -> None:
    model = {"kind": "comirec", "routing": routing, "width": 16, "max_length": LENGTH}
    interests.check_learns(tmp_path, model)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_it_beats_popularity_on_the_demo_shop(tmp_path: Path, routing: str) -> None:
    interests.check_beats_popularity(tmp_path, {"kind": "comirec", "routing": routing, "width": 32})
