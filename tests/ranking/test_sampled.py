"""Losses with sampled negatives against their float64 references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.config import LossSettings
from miracle_core.processes import ALONE, Processes
from miracle_core.ranking import sampled
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.loss import max_interest_cross_entropy
from miracle_core.ranking.sampled import sampled_loss
from miracle_core.ranking.seen import Seen
from miracle_core.systems.base import Batch, Rows, System
from tests.ranking.test_seen import N_ITEMS, USERS, Case
from tests.reference import sampled as reference
from tests.reference.scoring import score
from tests.systems.miracle.support import SEEDS, SETTINGS, TOLERANCE, interests_of

KINDS = ["bpr", "bpr-max", "top1", "top1-max", "bce", "gbce", "sampled-softmax"]
K = 3


def settings_of(kind: str) -> LossSettings:
    return LossSettings.model_validate(
        {"recommendation": kind, "calibration": 0.6, "regularisation": 0.7}
    )


def expected(kind: str, own: float, rest: list[float]) -> float:
    return {
        "bpr": lambda: reference.bpr(own, rest),
        "bpr-max": lambda: reference.bpr_max(own, rest, 0.7),
        "top1": lambda: reference.top1(own, rest),
        "top1-max": lambda: reference.top1_max(own, rest),
        "bce": lambda: reference.bce(own, rest),
        "gbce": lambda: reference.gbce(own, rest, N_ITEMS, 0.6),
        "sampled-softmax": lambda: reference.sampled_softmax(own, rest, N_ITEMS),
    }[kind]()


def negatives_of(targets: torch.Tensor, seed: int) -> torch.Tensor:
    drawn = np.random.default_rng(seed).integers(0, N_ITEMS - 1, (len(targets), K))
    negatives = torch.from_numpy(drawn)
    return negatives + (negatives >= targets.unsqueeze(1)).long()


@pytest.mark.parametrize("kind", KINDS)
@SETTINGS
@given(seed=SEEDS, drawn=USERS, gains=st.booleans(), elements=st.sampled_from([1, 40, 1 << 19]))
def test_losses_equal_their_papers(kind, seed, drawn, gains, elements):
    """Several interests per user, the gain for targets and negatives, chunks of any size."""
    case = Case(seed, drawn)
    own = torch.tensor(case.targets)[case.callers]
    negatives = negatives_of(own, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampled, "ELEMENTS", elements)
        found = sampled_loss(
            settings_of(kind),
            case.interests,
            torch.tensor(case.items),
            own,
            negatives,
            scale=1.5,
            seen=case.seen() if gains else None,
        )
    total = 0.0
    for row, caller in enumerate(case.callers.tolist()):
        scores = [
            1.5
            * score(
                case.users[caller],
                case.items[item],
                item,
                case.read[caller],
                case.gain if gains else 0.0,
            )
            for item in (case.targets[caller], *negatives[row].tolist())
        ]
        total += expected(kind, scores[0], scores[1:])
    np.testing.assert_allclose(found, total / len(case.users), **TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("elements", [1, 1 << 19])
def test_gradcheck(kind, elements, monkeypatch):
    monkeypatch.setattr(sampled, "ELEMENTS", elements)
    case = Case(3, [(2, [1, 2]), (1, [3, 3, 0]), (3, [5])])
    own = torch.tensor(case.targets)[case.callers]
    negatives = negatives_of(own, 4)
    seen = case.seen()

    def loss(vectors, items, gain):
        return sampled_loss(
            settings_of(kind),
            replace(case.interests, vectors=vectors),
            items,
            own,
            negatives,
            scale=1.3,
            seen=replace(seen, gain=gain),
        )

    inputs = (
        case.interests.vectors.clone().requires_grad_(),
        torch.tensor(case.items).requires_grad_(),
        torch.tensor(0.4, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(loss, inputs)


def test_sampled_softmax_of_every_other_item_is_the_softmax():
    case = Case(5, [(1, [1]), (2, [2]), (1, [0])])
    own = torch.tensor(case.targets)[case.callers]
    every = torch.stack([torch.tensor([i for i in range(N_ITEMS) if i != t]) for t in own.tolist()])
    items = torch.tensor(case.items)
    found = sampled_loss(settings_of("sampled-softmax"), case.interests, items, own, every)
    full = max_interest_cross_entropy(case.interests, items, own)
    torch.testing.assert_close(found, full, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("plain", "weighted"), [("bpr", "bpr-max"), ("top1", "top1-max")])
def test_of_one_negative_or_equal_ones_the_maximum_is_the_mean(plain, weighted):
    """With very unequal negatives, it is the loss of the highest one alone."""
    none = {"regularisation": 0.0}

    def of(kind: str, scores: list[float]) -> torch.Tensor:
        settings = LossSettings.model_validate({"recommendation": kind, **none})
        return sampled.of_scores(settings, torch.tensor([scores], dtype=torch.float64), N_ITEMS)

    for scores in ([0.3, 1.2], [0.3, -0.7, -0.7, -0.7]):
        torch.testing.assert_close(of(weighted, scores), of(plain, scores), rtol=1e-12, atol=0)
    torch.testing.assert_close(of(weighted, [0.3, 8.0, -30.0]), of(plain, [0.3, 8.0]))


def test_gbce_without_calibration_is_bce_and_with_it_alpha_counts():
    case = Case(6, [(1, [1]), (1, [2])])
    own = torch.tensor(case.targets)[case.callers]
    arguments = (case.interests, torch.tensor(case.items), own, negatives_of(own, 0))
    plain = sampled_loss(LossSettings(recommendation="bce"), *arguments)
    zero = sampled_loss(LossSettings(recommendation="gbce", calibration=0.0), *arguments)
    torch.testing.assert_close(zero, plain, rtol=1e-12, atol=1e-12)
    assert not torch.isclose(
        sampled_loss(LossSettings(recommendation="gbce", calibration=1.0), *arguments), plain
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [30.0, 1e3])
def test_scores_of_any_size_give_finite_losses_and_gradients(kind, size):
    vectors = torch.tensor([[size, 0.0], [-size, 0.0]], requires_grad=True)
    items = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.5, 1.0]], requires_grad=True)
    interests = interests_of([{0: np.zeros(2)}, {0: np.zeros(2)}])
    loss = sampled_loss(
        settings_of(kind),
        interests.replace_vectors(vectors),
        items,
        torch.tensor([1, 1]),
        torch.tensor([[0, 2], [0, 2]]),
    )
    loss.backward()
    assert loss.isfinite()
    assert vectors.grad.isfinite().all()
    assert items.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["bpr", "bce", "gbce"])
def test_large_scores_lose_no_digits(kind):
    """A softplus with its usual threshold, or 1 - sigmoid, would lose digits here."""
    rows = [[own, *rest] for own in (19.0, -21.0, 40.0) for rest in ((18.5, 21.0), (-40.0, 22.0))]
    scores = torch.tensor(rows, dtype=torch.float64)
    found = sampled.of_scores(settings_of(kind), scores, N_ITEMS)
    wanted = torch.tensor([expected(kind, own, rest) for own, *rest in rows], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-14, atol=1e-17)


def test_the_full_softmax_draws_nothing():
    with pytest.raises(ValueError, match="softmax draws no negatives"):
        sampled.of_scores(LossSettings(), torch.zeros(1, 2), 3)


@SETTINGS
@given(seed=SEEDS, drawn=USERS)
def test_which_candidates_a_user_has_had(seed, drawn):
    case = Case(seed, drawn)
    asked = torch.from_numpy(np.random.default_rng(seed).integers(0, N_ITEMS, (len(drawn), 5)))
    found = case.seen().holds(asked, N_ITEMS)
    for row, caller in enumerate(case.callers.tolist()):
        assert found[row].tolist() == [i in case.read[caller] for i in asked[row].tolist()]


def test_nobody_has_had_anything():
    none = torch.zeros(0, dtype=torch.int64)
    seen = Seen.of_pairs(none, none, torch.tensor(0.0), 2)
    assert not seen.holds(torch.tensor([[0, 1], [2, 3]]), 4).any()


class Half(Processes):
    """One of two processes with equally many rows."""

    def fraction(self, n: int) -> float:
        return 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_the_rows_draws_as_the_whole(kind):
    """In the base class, with items that don't compete: the two halves sum to the whole."""
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(8, 4, generator=generator)
    items = torch.randn(12, 4, generator=generator)
    among = torch.tensor([0, 2, 3, 5, 7, 8, 11])
    targets = among[torch.tensor([0, 6, 3, 2, 1, 1, 5, 4])]
    system = System()
    system.loss = settings_of(kind).model_copy(update={"negatives": 3})
    system.temperature = 0.5

    def loss(rows: slice, processes: Processes, epoch: int = 2) -> torch.Tensor:
        own = Rows(Interests.single(vectors[rows]), targets[rows], None, torch.arange(8)[rows])
        batch = Batch(None, None, None, (1, epoch), among=among)  # type: ignore[arg-type]
        return system.recommendation(own, items, batch, processes)

    whole = loss(slice(0, 8), ALONE)
    halves = loss(slice(0, 4), Half()) + loss(slice(4, 8), Half())
    torch.testing.assert_close(halves, whole)
    assert loss(slice(0, 8), ALONE, epoch=3) != whole
