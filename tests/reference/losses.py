"""Eq. 15, 18-22 and 24: the interest contrast and the capsules' regularisers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tests.reference.basics import cosine, log_sum_exp, softmax

if TYPE_CHECKING:
    from tests.reference.capsules import Interests
    from tests.reference.parameters import Array

TEMPERATURE = 0.1  # of eq. 18


def eq15_rows(
    original: list[Interests], masked: list[Interests], positions: list[list[int]]
) -> list[tuple[Array, Array]]:
    """The pairs (u~, u~') of a batch: one per distinct (user, capsule) that a masked item chose.

    `positions[k]` lists the items of user k that were masked. Both interests belong to the capsule
    the item activates in the original history.
    """
    return [
        (original[user].u[capsule], masked[user].u[capsule])
        for user, places in enumerate(positions)
        for capsule in sorted({original[user].choice[i] for i in places})
    ]


def eq15_contrast(pairs: list[tuple[Array, Array]]) -> float:
    """The sum over rows of -log softmax of the product of the row's own pair; 0 without rows."""
    total = 0.0
    for i, (u, _) in enumerate(pairs):
        products = [float(u @ other) for _, other in pairs]
        total += log_sum_exp(products) - products[i]
    return total


def eq18_orthogonality(A: Array) -> float:
    """Mean over capsules of the cross-entropy of cos/0.1 against the identity."""
    total = 0.0
    for j in range(len(A)):
        logits = [cosine(A[j], A[k]) / TEMPERATURE for k in range(len(A))]
        total += log_sum_exp(logits) - logits[j]
    return total / len(A)


def eq19_similarity_share(s: list[Array]) -> Array:
    """w [C]: the softmaxed similarities averaged over all items of the batch; s[k] is [n_k, C]."""
    rows = [softmax(row) for user in s for row in user]
    return np.array([math.fsum(column) / len(rows) for column in zip(*rows, strict=True)])


def eq20_activation_share(choices: list[list[int]], capsules: int) -> Array:
    """r [C]: the share of the batch's items that activate each capsule."""
    flat = [choice for user in choices for choice in user]
    return np.array([flat.count(j) / len(flat) for j in range(capsules)])


def eq21_balance(s: list[Array], choices: list[list[int]]) -> float:
    """C times <w, r>: 1 if both are even, C if everything is in one capsule."""
    w = eq19_similarity_share(s)
    return len(w) * float(w @ eq20_activation_share(choices, len(w)))


def eq22_pretrain(
    rec: float, balance: float, orthogonality: float, contrast: float, theta: tuple[float, ...]
) -> float:
    """Rec + th1 l_b + th2 l_c + th3 l_i."""
    return rec + theta[0] * balance + theta[1] * orthogonality + theta[2] * contrast


def eq24_finetune(
    rec: float, balance: float, orthogonality: float, th4: float, th5: float
) -> float:
    """Rec + th4 l_b + th5 l_c."""
    return rec + th4 * balance + th5 * orthogonality
