"""The reference itself, on cases whose answer is known without any code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import basics, capsules, items, losses, metrics, miracle, padded, scoring
from tests.reference.parameters import check_finite, random_parameters

SETTINGS = settings(max_examples=20, deadline=None, derandomize=True)


@SETTINGS
@given(
    seed=st.integers(0, 2**32 - 1),
    positions=st.integers(1, 6),
    n_capsules=st.integers(1, 6),
    junk=st.sampled_from([0.0, 1.0, 1e4]),
    agreement=st.sampled_from(["h", "q"]),
    data=st.data(),
)
def test_padding_content_changes_nothing(seed, positions, n_capsules, junk, agreement, data):
    length = data.draw(st.integers(1, positions))
    rng = np.random.default_rng(seed)
    p = random_parameters(rng, positions=positions, capsules=n_capsules)
    check_finite(p)
    xs = list(rng.normal(size=(length, 6)))
    rows, mask = padded.pad(xs, positions, junk * rng.normal(size=(positions, 6)))

    H = padded.padded_context(rows, mask, p)
    hs = items.eq5_6_context(xs, p)
    np.testing.assert_allclose(H[mask], hs, atol=1e-12)

    H[~mask] = junk * rng.normal(size=(positions - length, 6))
    u, active = padded.padded_interests(H, mask, p, agreement=agreement)
    found = capsules.eq7_14_interests(hs, p, agreement=agreement)
    assert sorted(found.u) == list(np.flatnonzero(active))
    np.testing.assert_allclose(u[active], [found.u[j] for j in sorted(found.u)], atol=1e-11)


def test_one_item_has_one_interest_of_its_own_features():
    p = random_parameters(np.random.default_rng(0))
    h = np.random.default_rng(1).normal(size=6)
    found = capsules.eq7_14_interests([h], p)
    assert list(found.u) == [int(np.argmax(p.A @ h))]
    assert found.o == pytest.approx([1.0])
    q = capsules.eq10_features([h], p)[0]
    expected = q * np.linalg.norm(q) / (1 + np.linalg.norm(q) ** 2)
    np.testing.assert_allclose(found.u[found.choice[0]], expected, atol=1e-14)


def test_equal_similarities_activate_the_first_capsule():
    assert capsules.eq8_active(np.ones((3, 4))) == [0]


def test_squash():
    np.testing.assert_allclose(capsules.eq13_squash(np.array([3.0, 4.0])), [15 / 26, 20 / 26])
    assert not capsules.eq13_squash(np.zeros(2)).any()


def test_coupling_is_a_distribution_over_the_active():
    c = capsules.eq12_coupling(np.array([[0.0, 9.0, math.log(3.0)]]), [0, 2])
    np.testing.assert_allclose(c, [[0.25, 0.0, 0.75]])


def test_layer_norm_and_gelu():
    row = basics.layer_norm(np.array([1.0, 3.0]), np.array([2.0, 2.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(row, [-1.0, 3.0])
    np.testing.assert_allclose(basics.gelu(np.array([0.0, 40.0])), [0.0, 40.0])
    assert basics.gelu(np.array([1.0]))[0] == pytest.approx(0.8413447460685429)


def test_score_is_the_best_active_interest():
    u = {1: np.array([1.0, 0.0]), 4: np.array([0.0, 2.0])}
    assert scoring.eq17_score(u, np.array([3.0, 1.0])) == 3.0
    assert scoring.eq17_winner(u, np.array([3.0, 1.0])) == 1
    assert scoring.eq17_winner(u, np.array([2.0, 1.0])) == 1  # a tie: the lower number


def test_a_constant_scorer_loses_log_of_the_candidates():
    users = [{0: np.zeros(2)}, {3: np.zeros(2)}]
    xs = [np.ones(2)] * 5
    assert scoring.eq23_full(users, [0, 4], xs) == pytest.approx(math.log(5))
    assert scoring.eq16_in_batch(users, [0, 4], xs[:2]) == pytest.approx(2 * math.log(2))
    assert scoring.eq16_in_batch(users, [4, 4], xs[:2]) == 0.0


def test_contrast_keeps_one_row_a_user_and_capsule():
    rng = np.random.default_rng(3)
    p = random_parameters(rng, capsules=2)
    catalogue = list(rng.normal(size=(6, 6)))
    history, places = [0, 1, 2, 3], [0, 1, 3]
    original = miracle.interests(history, catalogue, p)
    copy = miracle.masked_interests(
        history, places, catalogue, rng.normal(size=6), p, forced=original.choice
    )
    assert sorted(copy.u) == sorted(original.u)
    pairs = losses.eq15_rows([original], [copy], [places])
    assert len(pairs) == len({original.choice[i] for i in places})
    assert losses.eq15_contrast(pairs[:1]) == 0.0
    assert losses.eq15_contrast([]) == 0.0
    twins = [(np.array([1.0, 0.0]), np.array([1.0, 0.0])), (np.array([0.0, 1.0]),) * 2]
    assert losses.eq15_contrast(twins) == pytest.approx(2 * math.log(1 + math.exp(-1)))


def test_regularisers_at_their_ends():
    apart, together = 3.0 * np.eye(4), np.ones((4, 2))
    assert losses.eq18_orthogonality(apart) == pytest.approx(math.log(1 + 3 * math.exp(-10)))
    assert losses.eq18_orthogonality(together) == pytest.approx(math.log(4))
    assert math.isfinite(losses.eq18_orthogonality(np.zeros((2, 3))))
    even = [50.0 * np.eye(4)[:2], 50.0 * np.eye(4)[2:]]
    assert losses.eq21_balance(even, [[0, 1], [2, 3]]) == pytest.approx(1.0)
    one = [50.0 * np.eye(4)[[0, 0, 0]]]
    assert losses.eq21_balance(one, [[0, 0, 0]]) == pytest.approx(4.0)


def test_totals():
    assert losses.eq22_pretrain(1.0, 2.0, 3.0, 4.0, (0.5, 0.25, 0.125)) == 3.25
    assert losses.eq24_finetune(1.0, 2.0, 3.0, 0.5, 0.25) == 2.75


def test_metrics_by_hand():
    scores = [0.5, 0.9, 0.5, 0.1]
    assert metrics.ranking(scores, [0, 1, 2, 3]) == [1, 0, 2, 3]
    assert metrics.ranking(scores, [3, 2, 1, 0]) == [1, 2, 0, 3]
    assert metrics.rank_of(scores, 2, [0, 1, 2, 3]) == 3
    assert metrics.rank_of(scores, 2, [3, 2, 1, 0]) == 2
    ranks = [1, 3, 11]
    assert metrics.recall_at(ranks, 10) == pytest.approx(2 / 3)
    assert metrics.ndcg_at(ranks, 10) == pytest.approx((1 + 0.5) / 3)
    assert metrics.mrr_at(ranks, 10) == pytest.approx((1 + 1 / 3) / 3)
    assert metrics.mrr_at(ranks, 11) == pytest.approx((1 + 1 / 3 + 1 / 11) / 3)
