"""MIND compared with plain loops over single padded histories; what it learns."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from miracle_core.config import make_settings
from miracle_core.runs.opening import build_system, load_run
from miracle_core.runs.tensors import load_tensors
from miracle_core.systems.base import Sizes
from miracle_core.systems.mind.system import Mind
from tests.support import interests
from tests.support.interests import LENGTH, WIDTH, by_history, histories, padded, small, squash


def system(**own: object) -> Mind:
    found = small("mind", **own)
    assert isinstance(found, Mind)
    return found


def reference(
    rows: np.ndarray,
    real: np.ndarray,
    S: np.ndarray,
    logits: np.ndarray,
    layers: list[np.ndarray],
    K: int,
    r: int,
) -> np.ndarray:
    """Algorithm 1 and the ReLU layers, written from the paper for one padded history."""
    own = max(1, min(K, math.floor(math.log2(int(real.sum())))))
    places = [i for i in range(len(rows)) if real[i]]
    b = {(i, j): logits[j, i] for i in places for j in range(own)}
    for iteration in range(r):
        w = {}
        for i in places:
            total = sum(math.exp(b[i, j]) for j in range(own))
            for j in range(own):
                w[i, j] = math.exp(b[i, j]) / total
        u = [squash(sum(w[i, j] * (S @ rows[i]) for i in places)) for j in range(own)]
        if iteration + 1 < r:
            for i in places:
                for j in range(own):
                    b[i, j] += float(u[j] @ (S @ rows[i]))
    for layer in layers:
        u = [np.array([max(float(row @ v), 0.0) for row in layer]) for v in u]
    return np.array(u)


@pytest.mark.parametrize("K", [1, 3, 4])
def test_interests_are_the_papers(K: int) -> None:
    mind, given = system(interests=K), histories()
    weights = [w.detach().numpy() for w in (mind.bilinear, mind.first, mind.second)]
    found = by_history(mind, given)
    for history, own in zip(given, found, strict=True):
        rows, real = padded(mind, history)
        expected = reference(rows, real, weights[0], mind.logits.numpy(), weights[1:], K, 3)
        np.testing.assert_allclose(own, expected, atol=1e-12)


def test_interests_start_near_their_items() -> None:
    """As near as vectors without negative components can be."""
    torch.manual_seed(0)
    settings = make_settings({"model": {"kind": "mind", "width": 64}})
    mind = build_system(settings, Sizes(20))
    assert isinstance(mind, Mind)
    with torch.no_grad():
        found = mind.interests(mind.item, interests.packed([[item] for item in range(20)]))
    near = torch.cosine_similarity(found.vectors, mind.item.detach().relu(), dim=1)
    assert float(near.min()) > 0.9


def test_longer_histories_have_more_interests() -> None:
    mind = system(interests=4)
    counts = [mind.count(length) for length in (1, 2, 3, 4, 7, 8, 15, 16, 1000)]
    assert counts == [1, 1, 1, 2, 2, 3, 3, 4, 4]
    batch = interests.packed(histories())
    found = mind.interests(mind.item[batch.items], batch)
    assert found.groups == ((1, 5), (2, 4), (3, 5))
    assert found.which.tolist() == [0] * 5 + [0, 1] * 4 + [0, 1, 2] * 5


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_label_aware_attention(power: float) -> None:
    mind = system(power=power)
    torch.manual_seed(2)
    vectors = torch.randn(3, 4, WIDTH, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(3, WIDTH, dtype=torch.float64, requires_grad=True)
    found = mind.chosen(vectors, targets)
    for user in range(3):
        scores = [
            float(v @ targets[user].detach()) / mind.temperature for v in vectors[user].detach()
        ]
        raised = [math.copysign(abs(s) ** power, s) for s in scores]
        weights = np.exp(np.array(raised) - max(raised))
        expected = (weights / weights.sum()) @ vectors[user].detach().numpy()
        np.testing.assert_allclose(found[user].detach().numpy(), expected, atol=1e-10)
    mind.temperature = 1.0
    assert torch.autograd.gradcheck(mind.chosen, (vectors, targets))


def test_a_large_power_takes_the_nearest_interest() -> None:
    mind = system(power=16.0, temperature=0.5)
    vectors = torch.tensor([[[3.0, 0.0], [0.0, 2.0], [-9.0, 0.0]]])
    found = mind.chosen(vectors, torch.tensor([[1.0, 1.0]]))
    torch.testing.assert_close(found, vectors[:, 0])


@pytest.mark.parametrize("score", ["inner", "cosine"])
def test_the_loss_is_a_softmax_over_the_catalogue(score: str) -> None:
    mind, given = system(score=score), histories()
    expected = []
    for history, vectors in zip(given, by_history(mind, given), strict=True):
        items, own = mind.item.detach().numpy(), vectors
        if score == "cosine":
            items = items / np.linalg.norm(items, axis=1, keepdims=True)
            lengths = np.linalg.norm(own, axis=1, keepdims=True)
            own = own / np.where(lengths == 0, 1.0, lengths)
        target = items[interests.target_of(history)]
        s = own @ target / mind.temperature
        raised = np.sign(s) * np.abs(s) ** 2
        weights = np.exp(raised - raised.max())
        v = weights / weights.sum() @ own
        if score == "cosine":
            v = v / max(float(np.linalg.norm(v)), 1e-12)
        scores = items @ v / mind.temperature
        high = scores.max()
        log_sum = high + math.log(np.exp(scores - high).sum())
        expected.append(log_sum - scores[interests.target_of(history)])
    assert interests.loss_of(mind, given) == pytest.approx(np.mean(expected), rel=1e-9)


def test_two_processes_share_a_loss() -> None:
    mind, given = system(seen="gain"), histories()
    shared = interests.loss_in_two(mind, given)
    assert shared == pytest.approx(interests.loss_of(mind, given), rel=1e-9)


@pytest.mark.parametrize("score", ["inner", "cosine"])
def test_what_items_add_sums_to_every_score(score: str) -> None:
    interests.check_explanations(system(score=score))


def test_first_logits_are_drawn_once_and_kept_with_the_weights(tmp_path: Path) -> None:
    data = interests.chains(tmp_path / "data")
    asked = {"model": {"kind": "mind", "width": 8, "max_length": LENGTH}, "train": {"epochs": 2}}
    interests.trained(data, tmp_path / "run", asked)
    torch.manual_seed(99)
    run = load_run(tmp_path / "run")
    assert isinstance(run.system, Mind)
    kept = load_tensors(run.folder.weights)[0]["logits"]
    assert kept.shape == (4, LENGTH)
    assert torch.equal(run.system.logits, kept)
    assert "logits" not in dict(run.system.named_parameters())
    before = run.system.interests(run.system.item[:4], interests.packed([[0, 1, 2, 3]])).vectors
    run.system.logits.neg_()
    after = run.system.interests(run.system.item[:4], interests.packed([[0, 1, 2, 3]])).vectors
    assert not torch.allclose(before, after)


def test_it_learns_what_is_certain(tmp_path: Path) -> None:
    interests.check_learns(tmp_path, {"kind": "mind", "width": 16, "max_length": LENGTH})


def test_it_beats_popularity_on_the_demo_shop(tmp_path: Path) -> None:
    interests.check_beats_popularity(tmp_path, {"kind": "mind", "width": 32})
