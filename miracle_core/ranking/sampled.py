"""Losses that compare the item that came next with some drawn at random, not with all.

With the target's scaled score s+, those of its k negatives s_1 ... s_k, and n items:

- BPR (Rendle et al. 2009, BPR-Opt): the mean over j of -log sigmoid(s+ - s_j).
- TOP1 (Hidasi et al. 2016, section 3.1.3): the mean over j of sigmoid(s_j - s+) + sigmoid(s_j^2).
- TOP1-max (Hidasi and Karatzoglou 2018, section 3.3.1): sum_j w_j (sigmoid(s_j - s+) +
  sigmoid(s_j^2)), with w the softmax of the negatives' scores: the highest ones count most.
- BPR-max (Hidasi and Karatzoglou 2018, eq. 10): -log(sum_j w_j sigmoid(s+ - s_j)) + lambda sum_j
  w_j s_j^2, with the same w.
- BCE (Kang and McAuley 2018, eq. 6): -log sigmoid(s+) - sum_j log(1 - sigmoid(s_j)); SASRec has
  one negative. It is a sum as printed. Others take the mean over the k + 1 scores; divided by many,
  gradients fall below Adam's epsilon, and little is learned (docs/decisions/0062).
- gBCE (Petrov and Macdonald 2023): BCE with sigmoid(s+)^beta in place of sigmoid(s+),
  beta = alpha (t (1 - 1 / alpha) + 1 / alpha), alpha = k / (n - 1). It undoes the overconfidence
  that comes from seeing few negatives.
- Sampled softmax (Bengio and Senecal 2008): the cross-entropy among target and negatives. Each
  negative is expected to be drawn k / (n - 1) times, and the logarithm of that is subtracted from
  its score (logQ). The sum over negatives then estimates that over all other items.

A score is the max over the user's interests (eq. 17), plus the gain where the user has had the
item, whether it is target or negative. No function is applied to it; GRU4Rec's authors apply a tanh
for TOP1 and an ELU for BPR-max.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from miracle_core.launches import at_once
from miracle_core.ranking.interests import Groups, Interests, group_slices
from miracle_core.ranking.loss import chunks_of_users
from miracle_core.ranking.precision import exact, in_full
from miracle_core.ranking.seen import HadItems

if TYPE_CHECKING:
    from miracle_core.config.sections import LossSettings

# Numbers in the candidates' vectors that are processed together: 2 MiB of float32; more on a GPU.
ELEMENTS = 1 << 19
GPU_ELEMENTS = 1 << 26


def of_scores(loss: LossSettings, scores: Tensor, n_items: int) -> Tensor:
    """The loss of each row.

    Args:
        loss: which.
        scores: [rows, 1 + k], the target's first, then its negatives'.
        n_items: items of the catalogue.

    Returns:
        [rows].

    Raises:
        ValueError: ``loss`` is the softmax over all items, which has no negatives.
    """
    own, rest = scores[:, :1], scores[:, 1:]
    k = rest.shape[1]
    share = k / (n_items - 1)
    match loss.recommendation:
        case "bpr":
            return -F.logsigmoid(own - rest).mean(1)
        case "top1":
            return (torch.sigmoid(rest - own) + torch.sigmoid(rest.square())).mean(1)
        case "top1-max":
            weights = torch.softmax(rest, 1)
            return (weights * (torch.sigmoid(rest - own) + torch.sigmoid(rest.square()))).sum(1)
        case "bpr-max":
            weights = F.log_softmax(rest, 1)
            penalty = (weights.exp() * rest.square()).sum(1)
            won = torch.logsumexp(weights + F.logsigmoid(own - rest), 1)
            return loss.regularisation * penalty - won
        case "bce" | "gbce":
            t = loss.calibration if loss.recommendation == "gbce" else 0.0
            beta = share * (t * (1 - 1 / share) + 1 / share)
            return -beta * F.logsigmoid(own).squeeze(1) - F.logsigmoid(-rest).sum(1)
        case "sampled-softmax":
            logits = torch.cat([own, rest - math.log(share)], 1)
            return torch.logsumexp(logits, 1) - own.squeeze(1)
    raise ValueError(f"{loss.recommendation} draws no negatives")


def sampled_loss(
    loss: LossSettings,
    interests: Interests,
    items: Tensor,
    targets: Tensor,
    negatives: Tensor,
    *,
    scale: float = 1.0,
    seen: HadItems | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """Mean over users of a loss of targets and drawn negatives, a scalar.

    Losses and gradients are computed for some users at a time, so memory doesn't grow with users x
    negatives x width.

    Args:
        loss: which loss.
        interests: the users' interests.
        items: [items, d], the candidates.
        targets: int64 [users], the row of ``items`` each took next, in the order of
            ``interests.users``.
        negatives: int64 [users, k], the rows it is compared with.
        scale: what scores are multiplied with (1 / temperature).
        seen: the candidates that users have had, with the gain of their scores.
        counted: bool [users], the users of the mean; None for all.
    """
    mean: Tensor = _SampledLoss.apply(  # type: ignore[no-untyped-call]
        in_full(interests.vectors),
        in_full(items),
        None if seen is None else seen.gain,
        loss,
        interests.groups,
        torch.cat([targets.unsqueeze(1), negatives], 1),
        scale,
        seen,
        interests.active,
        counted,
    )
    return mean


class _SampledLoss(torch.autograd.Function):
    """The loss and its gradients in one pass over the users; the backward pass scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        items: Tensor,
        gain: Tensor | None,
        loss: LossSettings,
        groups: Groups,
        candidates: Tensor,
        scale: float,
        seen: HadItems | None,
        active: Tensor | None,
        counted: Tensor | None,
    ) -> Tensor:
        n_candidates = candidates.shape[1]
        n_users = len(candidates) if counted is None else counted.sum(dtype=items.dtype)
        n_items, width = items.shape
        total, d_gain = vectors.new_zeros(()), vectors.new_zeros(())
        d_vectors, d_items = torch.empty_like(vectors), torch.zeros_like(items)
        room = GPU_ELEMENTS if at_once(vectors) else ELEMENTS
        for rows, users, part in chunks_of_users(groups, max(room // (n_candidates * width), 1)):
            chosen = candidates[users]
            with torch.enable_grad():
                own = vectors[rows].detach().requires_grad_()
                taken = F.embedding(chosen, items.detach()).requires_grad_()
                there = None if active is None else active[rows]
                scores = _scores(own, taken, part, there).to(vectors.dtype) * scale
                learned: list[Tensor] = [own, taken]
                if seen is not None:
                    added = seen.gain.detach().clone().requires_grad_()
                    learned.append(added)
                    had = seen.among(users).holds(chosen, n_items)
                    scores = scores + added * scale * had
                with exact(scores):
                    each = of_scores(loss, scores, n_items)
                    if counted is not None:
                        each = torch.where(counted[users], each, 0.0)
                    part_loss = each.sum()
                d_own, d_taken, *d_added = torch.autograd.grad(part_loss, learned)
            total += part_loss.detach()
            d_vectors[rows] = d_own
            _add_rows(d_items, chosen.flatten(), d_taken.flatten(0, 1))
            if d_added:
                d_gain += d_added[0]
        ctx.save_for_backward(d_vectors, d_items, None if gain is None else d_gain)
        ctx.users = n_users
        return total / n_users

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        d_vectors, d_items, d_gain = ctx.saved_tensors
        by = d_loss / ctx.users
        d_gain = None if d_gain is None else d_gain * by
        return d_vectors * by, d_items * by, d_gain, *(None,) * 7


def _scores(
    vectors: Tensor, candidates: Tensor, groups: Groups, active: Tensor | None = None
) -> Tensor:
    """Max over interests of their products with each user's own candidates.

    Args:
        vectors: [interests, d].
        candidates: [users, candidates, d].
        groups: (interests a user, users) of each run.
        active: bool [interests], which rows hold an interest; None for all.

    Returns:
        [users, candidates].
    """
    best = []
    for k, rows, users in group_slices(groups):
        scores = vectors[rows].unflatten(0, (-1, k)) @ candidates[users].transpose(1, 2)
        if active is not None:
            away = active[rows].view(-1, k, 1).logical_not()
            scores = scores.masked_fill(away, -torch.inf)
        best.append(scores.amax(1) if k > 1 else scores[:, 0])
    return torch.cat(best)


def _add_rows(total: Tensor, rows: Tensor, values: Tensor) -> None:
    """Add each of ``values`` [n, d] to its row of ``total``, in a fixed order on each device."""
    if total.is_cpu:
        total.index_add_(0, rows, values)
    else:
        total.index_put_((rows,), values, accumulate=True)
