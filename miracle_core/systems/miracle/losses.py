"""Section 3.4: interest contrast and the regularisers of the capsules (eq. 15, 18-21).

Where several processes share a batch, each function gives this process's contribution: these, and
their gradients, sum over the processes to the loss of the whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.processes import ALONE, Processes
from miracle_core.ranking.precision import exact

ORTHOGONALITY_TEMPERATURE = 0.1


def interest_contrast(
    original: Tensor,
    masked: Tensor,
    processes: Processes = ALONE,
    counted: Tensor | None = None,
) -> Tensor:
    """l_i: each interest is to find itself among those of the masked copies (eq. 15).

    Row i of both is the interest of one (user, capsule) that a masked item activates. The mean over
    the rows, so that its weight means the same in every batch; 0 for one row, and 0 for none.

    Args:
        original: u [rows, d], from the histories as they are.
        masked: u' [rows, d], from the masked copies.
        processes: those that share the batch; an interest is compared with the rows of all.
        counted: bool [rows], which rows of a padded batch count; None: all do.
    """
    everyone, first = processes.gather(masked)
    own = len(original)
    if counted is not None:
        there, _ = processes.gather(counted)
        with exact(original):
            logits = (original @ everyone.T).masked_fill(~there, torch.finfo(original.dtype).min)
            rows = torch.arange(first, first + own, device=original.device)
            each = F.cross_entropy(logits, rows, reduction="none")
            return torch.where(counted, each, 0.0).sum() / there.sum().clamp_min(1)
    if not own:
        return original.sum() + everyone[:0].sum()  # no row: 0, and still part of the graph
    rows = torch.arange(first, first + own, device=original.device)
    with exact(original):
        return F.cross_entropy(original @ everyone.T, rows) * (own / len(everyone))


def orthogonality(base: Tensor, processes: Processes = ALONE) -> Tensor:
    """l_c: softmax cross-entropy of cos(a_j, a_j') / 0.1 against the identity (eq. 18).

    As printed, the logarithm of a cosine that may be negative is undefined; the softmax, averaged
    over the capsules, is the reading of the authors' settings.

    Args:
        base: A [C, d].
        processes: those that share the batch.

    Returns:
        A scalar, smallest where the base vectors point away from each other.
    """
    directions = F.normalize(base, dim=-1)
    with exact(base):
        cosines = directions @ directions.T / ORTHOGONALITY_TEMPERATURE
        loss = F.cross_entropy(cosines, torch.arange(len(base), device=base.device))
    return loss / processes.size


def coverage(
    similarity: Tensor, activated: Tensor, packed: Packed, processes: Processes = ALONE
) -> Tensor:
    """l_b = C w.r, smallest (1) where items spread evenly over the capsules (eq. 19-21).

    w is the mean softmaxed similarity of the batch's items, r the share of them that activates each
    capsule. r has no gradient; w pulls similarity away from crowded capsules.

    Args:
        similarity: s [tokens, C].
        activated: int64 [tokens], the capsule each item activates.
        packed: the histories that the items lie in.
        processes: those that share the batch; w and r are over the items of all.
    """
    capsules = similarity.shape[1]
    counts = processes.sum(packed.count(activated, capsules))
    tokens = counts.sum().to(similarity.dtype)
    # This process's part of w: the loss is linear in w, so the parts can be summed afterwards.
    w = packed.mean(similarity.softmax(-1)) * (packed.n_items() / tokens)
    r = counts.to(w.dtype) / tokens
    with exact(similarity):
        return capsules * (w @ r)
