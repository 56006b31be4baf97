"""Eq. 18-21 against the float64 reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.packed import Packed, pack_lists
from miracle_core.systems.miracle.losses import coverage, orthogonality
from tests.reference.capsules import eq8_choice
from tests.reference.losses import eq18_orthogonality, eq21_balance
from tests.systems.miracle.support import LENGTHS, SEEDS, SETTINGS

CLOSE = pytest.approx


def one_history(items: int) -> Packed:
    return pack_lists([[0] * items], items)


@SETTINGS
@given(seed=SEEDS, capsules=st.integers(1, 7), width=st.integers(1, 6))
def test_orthogonality_equals_the_paper(seed, capsules, width):
    A = np.random.default_rng(seed).normal(size=(capsules, width))
    found = orthogonality(torch.from_numpy(A)).item()
    assert found == CLOSE(eq18_orthogonality(A), rel=1e-10, abs=1e-10)


def test_orthogonality_of_equal_opposed_and_vanishing_capsules():
    for A in (np.ones((4, 3)), np.array([[1.0, 2.0], [-1.0, -2.0]]), np.zeros((3, 2))):
        base = torch.from_numpy(A).requires_grad_()
        loss = orthogonality(base)
        assert loss.item() == CLOSE(eq18_orthogonality(A), rel=1e-10, abs=1e-10)
        loss.backward()
        assert base.grad.isfinite().all()


def test_orthogonality_ignores_lengths_and_prefers_right_angles():
    even = torch.eye(4, dtype=torch.float64)
    assert orthogonality(even).item() == CLOSE(orthogonality(7 * even).item())
    assert orthogonality(even) < orthogonality(even + 0.3)


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, capsules=st.integers(1, 7))
def test_coverage_equals_the_paper(seed, lengths, capsules):
    rng = np.random.default_rng(seed)
    s = [rng.normal(0, 3, size=(length, capsules)) for length in lengths]
    choices = [eq8_choice(rows) for rows in s]
    activated = torch.tensor([j for own in choices for j in own])
    packed = pack_lists([[0] * length for length in lengths], max(lengths))
    found = coverage(torch.from_numpy(np.concatenate(s)), activated, packed)
    assert found.item() == CLOSE(eq21_balance(s, choices), rel=1e-10, abs=1e-10)


def test_coverage_is_one_when_even_and_c_when_crowded():
    tokens, capsules = 12, 4
    even = 50.0 * torch.eye(capsules, dtype=torch.float64).repeat(tokens // capsules, 1)
    assert coverage(even, even.argmax(1), one_history(tokens)).item() == CLOSE(1.0)
    one = 50.0 * torch.eye(capsules, dtype=torch.float64)[torch.zeros(tokens, dtype=torch.long)]
    assert coverage(one, one.argmax(1), one_history(tokens)).item() == CLOSE(capsules)
    level = torch.zeros(tokens, capsules, dtype=torch.float64)
    assert coverage(level, level.argmax(1), one_history(tokens)).item() == CLOSE(1.0)


def test_gradients_are_exact():
    rng = np.random.default_rng(0)
    A = torch.from_numpy(rng.normal(size=(4, 3))).requires_grad_()
    assert torch.autograd.gradcheck(orthogonality, (A,))
    s = torch.from_numpy(rng.normal(size=(6, 4))).requires_grad_()
    activated = s.argmax(1)
    assert torch.autograd.gradcheck(lambda rows: coverage(rows, activated, one_history(6)), (s,))


def test_coverage_pushes_similarity_away_from_the_crowded_capsule():
    s = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    coverage(s, torch.zeros(6, dtype=torch.long), one_history(6)).backward()
    assert (s.grad[:, 0] > 0).all() and (s.grad[:, 1:] < 0).all()


def test_one_capsule():
    s = torch.randn(5, 1, generator=torch.Generator().manual_seed(0))
    assert coverage(s, s.argmax(1), one_history(5)).item() == CLOSE(1.0)
    assert orthogonality(torch.ones(1, 4)).item() == CLOSE(0.0)
    assert math.isfinite(orthogonality(torch.zeros(1, 4)).item())
