"""Section 3.4: interest contrast and the regularisers of the capsules (eq. 15, 18-21)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

ORTHOGONALITY_TEMPERATURE = 0.1


def interest_contrast(original: Tensor, masked: Tensor) -> Tensor:
    """l_i: each interest is to know itself again among all when items are masked (eq. 15).

    Row i of both is the interest of one (user, capsule) that a masked item activates. The mean over
    the rows, so that its weight means the same in every batch; exactly 0 for one row, and 0 for
    none.

    Args:
        original: u [rows, d], from the histories as they are.
        masked: u' [rows, d], from the masked copies.
    """
    if not len(original):
        return original.sum() + masked.sum()  # no row: 0, and still part of the graph
    rows = torch.arange(len(original), device=original.device)
    return F.cross_entropy(original @ masked.T, rows)


def orthogonality(base: Tensor) -> Tensor:
    """l_c: softmax cross-entropy of cos(a_j, a_j') / 0.1 against the identity (eq. 18).

    As printed, the logarithm of a cosine that may be negative is undefined; the softmax, averaged
    over the capsules, is the reading of the authors' settings.

    Args:
        base: A [C, d].

    Returns:
        A scalar, smallest where the base vectors point away from each other.
    """
    directions = F.normalize(base, dim=-1)
    cosines = directions @ directions.T / ORTHOGONALITY_TEMPERATURE
    return F.cross_entropy(cosines, torch.arange(len(base), device=base.device))


def coverage(similarity: Tensor, activated: Tensor) -> Tensor:
    """l_b = C w.r, smallest (1) where items spread evenly over the capsules (eq. 19-21).

    w is the mean softmaxed similarity of the batch's items, r the share of them that activates each
    capsule. r has no gradient; w pulls similarity away from crowded capsules.

    Args:
        similarity: s [tokens, C].
        activated: int64 [tokens], the capsule each item activates.
    """
    capsules = similarity.shape[1]
    w = similarity.softmax(-1).mean(0)
    r = torch.bincount(activated, minlength=capsules).to(w.dtype) / activated.numel()
    return capsules * (w @ r)
