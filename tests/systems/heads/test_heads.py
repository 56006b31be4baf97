"""The heads compared with plain loops and, with capsules, with MIRACLE; each one learns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.config import make_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.packed import pack_lists
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.processes import ALONE
from miracle_core.runs.opening import build_system
from miracle_core.systems.base import ItemSide, Sizes, System
from miracle_core.systems.heads.system import Heads
from miracle_core.text import encode_dataset
from tests.reference.basics import layer_norm, softmax
from tests.reference.items import eq2_adaptor, eq5_6_context
from tests.reference.scoring import eq23_full
from tests.support.interests import demo_shop, squash, trained
from tests.support.scorers import fitted_scorer
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    N,
    batch_of,
    f64,
    histories_of,
    paper_parameters,
    per_user,
    randomise,
)

N_ITEMS, TEXT = 9, 7
SEVERAL = [("last", 1), ("mean", 1), ("attention", 1), ("attention", 3), ("routing", 1)]
HEADS = [*SEVERAL, ("routing", 3)]


def system_of(kind: str, seen: str = "gain", mode: str = "transductive", **own: Any) -> System:
    model = {"kind": kind, "width": 6, "inner": 8, "max_length": N, "experts": 3, **own}
    settings = make_settings({"seen": seen, "model": model, "train": {"mode": mode}})
    return build_system(settings, Sizes(N_ITEMS, TEXT))


def small(head: str, interests: int, seed: int, **more: Any) -> Heads:
    system = randomise(system_of("heads", head=head, interests=interests, **more), seed)
    assert isinstance(system, Heads)
    return system


def texts() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(4).normal(size=(N_ITEMS, TEXT)))


def eq10(h: Any, features: Any) -> Any:
    """Eq. 10 for one contextual item."""
    hidden, norm = features.hidden, features.norm
    inner = np.tanh(h @ f64(hidden.weight).T + f64(hidden.bias)) + h
    return layer_norm(inner, f64(norm.weight), f64(norm.bias))


def reference_interests(system: Heads, history: list[int], xs: list[Any]) -> list[Any]:
    """The interests of one history, before they are normalised for scoring."""
    hs = eq5_6_context([xs[item] for item in history], paper_parameters(context=system.context))
    head, name, K = system.head, system.settings.head, system.settings.interests
    qs = [eq10(h, head.features) for h in hs]
    n = len(qs)
    if name == "last":
        return [qs[-1]]
    if name == "mean":
        return [sum(qs) / n]
    if name == "attention":
        own = head.attention
        P, W1, W2 = f64(own.position), f64(own.hidden), f64(own.heads)
        found = []
        for row in W2:
            logits = [row @ np.tanh(W1 @ (q + P[N - n + i])) for i, q in enumerate(qs)]
            weights = softmax(np.array(logits))
            found.append(sum(w * q for w, q in zip(weights, qs, strict=True)))
        return found
    S, start = f64(head.bilinear), f64(head.logits)
    sent = [S @ q for q in qs]
    b = [[start[j, N - n + i] for j in range(K)] for i in range(n)]
    for _ in range(system.settings.iterations):
        c = [softmax(np.array(row)) for row in b]
        u = [squash(sum(c[i][j] * sent[i] for i in range(n))) for j in range(K)]
        for i in range(n):
            for j in range(K):
                b[i][j] += float(u[j] @ sent[i])
    return u


def catalogue(system: Heads) -> list[Any]:
    p = paper_parameters(adaptor=system.adaptor)
    identity = f64(system.identity)
    text = f64(system.prepared(texts()))
    return [eq2_adaptor(t, p) + e for t, e in zip(text, identity, strict=True)]


@pytest.mark.parametrize(("head", "interests"), HEADS)
@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS)
def test_interests_are_what_the_head_says(head, interests, seed, lengths):
    system = small(head, interests, seed)
    histories = [*histories_of([*lengths, N + 2], np.random.default_rng(seed), N_ITEMS)]
    packed = pack_lists(histories, N)
    inputs = system.inputs(ItemSide(system.prepared(texts())))
    found = per_user(packed, system.encode(inputs[packed.items], packed).interests)
    xs = catalogue(system)
    for history, own in zip(histories, found, strict=True):
        assert sorted(own) == list(range(interests))
        for j, expected in enumerate(reference_interests(system, history[-N:], xs)):
            direction = expected / math.sqrt(float(expected @ expected))
            np.testing.assert_allclose(own[j], direction, **TOLERANCE)


@pytest.mark.parametrize(("head", "interests"), HEADS)
def test_every_head_is_trained_by_the_best_of_its_interests(head, interests):
    """Eq. 23 with cosines over the temperature and the gain, and no other term."""
    system = small(head, interests, 1)
    histories = histories_of([3, 1, 5, 2, 5], np.random.default_rng(2), N_ITEMS)
    targets = [0, 3, 8, 2, 5]
    side = ItemSide(system.prepared(texts()))
    found = system.objective(side, batch_of(histories, targets), ALONE)
    assert list(found.terms) == ["recommendation"]
    assert found.counters == {}
    xs, t = catalogue(system), system.temperature
    unit = [x / math.sqrt(float(x @ x)) for x in xs]
    users = []
    for history in histories:
        own = reference_interests(system, history, xs)
        users.append({j: u / math.sqrt(float(u @ u)) / t for j, u in enumerate(own)})
    gain = float(system.gain().detach()) / t
    expected = eq23_full(users, targets, unit, histories, gain)
    np.testing.assert_allclose(float(found.total.detach()), expected, **TOLERANCE)


@pytest.mark.parametrize("seen", ["gain", "as-printed"])
@pytest.mark.parametrize("mode", ["transductive", "inductive"])
@pytest.mark.parametrize("sparse", [True, False])
def test_with_capsules_it_is_miracle_to_the_bit(seen: str, mode: str, sparse: bool) -> None:
    """A seed gives the same weights, losses and gradients, including noise."""
    histories = histories_of([3, 1, 5, 2, 5, 4], np.random.default_rng(2), N_ITEMS)
    batch = batch_of(histories, [0, 3, 8, 2, 5, 1])
    told = []
    for kind, more in (("miracle", {}), ("heads", {"head": "capsules"})):
        torch.manual_seed(11)
        system = system_of(kind, seen, mode, capsules=4, sparse=sparse, **more).train()
        found = system.objective(ItemSide(system.prepared(texts().float())), batch, ALONE)
        found.total.backward()
        weights = {name.replace("head.", "capsules."): w for name, w in system.named_parameters()}
        told.append((found, weights, system.n_interests))
    (ours, our_weights, k), (theirs, their_weights, k_too) = told
    assert k == k_too == 4
    assert list(our_weights) == list(their_weights)
    for name, weight in our_weights.items():
        assert torch.equal(weight, their_weights[name]), name
        assert weight.grad is not None
        assert torch.equal(weight.grad, their_weights[name].grad), name
    assert torch.equal(ours.total, theirs.total)
    assert list(ours.terms) == ["recommendation", "coverage", "orthogonality"]
    assert ours.terms == theirs.terms
    assert torch.equal(ours.counters["capsules"], theirs.counters["capsules"])


def test_presets_are_miracles() -> None:
    for preset in ("paper", "reference"):
        one, other = (
            make_settings({"preset": preset, "model": {"kind": kind}}).model_dump()
            for kind in ("miracle", "heads")
        )
        own = other.pop("model")
        assert own.items() & one["model"].items() == own.items() - {
            ("kind", "heads"),
            ("head", "last"),
            ("interests", 1),
        }
        one.pop("model")
        assert one == other


@pytest.mark.parametrize(("head", "interests"), [*HEADS, ("capsules", 1)])
def test_gradients_are_right_and_reach_every_weight(head: str, interests: int) -> None:
    system = small(head, interests, 3)
    packed = pack_lists([[0, 1], [2], [3, 4, 5, 6, 7]], N)
    inputs = system.inputs(ItemSide(system.prepared(texts())))
    tokens = inputs[packed.items].detach().requires_grad_()
    if head not in ("routing", "capsules"):  # routing weights are not differentiated
        assert torch.autograd.gradcheck(
            lambda t: system.encode(t, packed).interests.vectors, (tokens,)
        )
    batch = batch_of([[0, 1], [2], [3, 4, 5, 6, 7]], [3, 0, 8])
    system.objective(ItemSide(system.prepared(texts())), batch, ALONE).total.backward()
    for name, weight in system.named_parameters():
        if name == "adaptor.noise_weight" or "score.bias" in name or "query_key_value.bias" in name:
            continue  # only used in training, or added to all logits, where softmax ignores it
        assert weight.grad is not None, name
        assert float(weight.grad.abs().max()) > 0, name


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, head=st.sampled_from([*HEADS, ("capsules", 1)]))
def test_company_of_histories_changes_nothing(seed, lengths, head):
    system = small(*head, seed)
    histories = histories_of(lengths, np.random.default_rng(seed), N_ITEMS)
    scorer = system.scorer(ItemSide(system.prepared(texts())))

    def scores(given: list[list[int]]) -> torch.Tensor:
        packed = pack_lists(given, N)
        table = torch.empty(len(given), N_ITEMS, dtype=torch.float64)
        for users, found in scorer.scores(packed).chunks:
            table[packed.order[users]] = found
        return table

    together = scores(histories)
    for history, found in zip(histories, together, strict=True):
        torch.testing.assert_close(scores([history])[0], found)


def test_what_the_score_loses_without_each_item() -> None:
    system = small("attention", 3, 5)
    scorer = system.scorer(ItemSide(system.prepared(texts())), gain=False)
    history, rows = [2, 0, 5], torch.tensor([6, 1])
    with torch.inference_mode():
        explained = scorer.explain(history)
        each = explained.each(rows)
        winners = each.argmax(0)
        found = explained.contributions(rows, winners)
        for place in range(3):
            left = pack_lists([history[:place] + history[place + 1 :]], N)
            ((_, without),) = scorer.scores(left).chunks
            expected = each.amax(0) - without[0, rows]
            torch.testing.assert_close(found[place], expected)
    assert not explained.additive


@pytest.mark.parametrize("head", ["last", "mean", "capsules"])
def test_only_some_heads_are_told_how_many(head: str) -> None:
    with pytest.raises(InputError, match=f"of {head} there is"):
        make_settings({"model": {"kind": "heads", "head": head, "interests": 4}})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = demo_shop(tmp_path_factory.mktemp("shop"))
    encode_dataset(folder, "hashing:32")
    return folder


@pytest.mark.parametrize(("head", "interests"), [("last", 1), ("attention", 2)])
def test_it_beats_popularity(shop: Path, tmp_path: Path, head: str, interests: int) -> None:
    """Validation is more than a tenth better than popularity after a few epochs."""
    own = {"kind": "heads", "width": 32, "experts": 2, "layers": 1, "inner": 32}
    model = {**own, "head": head, "interests": interests}
    train = {"epochs": 5, "batch_size": 64, "learning_rate": 0.01, "average": 0.9, "test": False}
    records = trained(shop, tmp_path / "run", {"model": model, "train": train})
    dataset = Dataset.open(shop)
    popularity = evaluate(fitted_scorer("popularity", dataset), dataset, "valid").metrics
    best = max(record["valid"]["recall@10"] for record in records)
    assert best > 1.1 * popularity["recall@10"] > 0
