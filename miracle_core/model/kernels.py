"""The max-over-interests cross-entropy by Triton kernels (eq. 17, 23), for CUDA.

**Right on the GPU they were tried on, and slower there than the blocked PyTorch version**
(docs/performance.md), which is the default; these are used where asked for (``train.kernels``, or
``max_interest_cross_entropy(..., triton=True)``).

There are no atomic sums, so results repeat. Beyond the inputs and their gradients three numbers a
user are kept. Products are made in autocast's type where it is on, and summed in float32 or better.

Importing this module needs triton.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from miracle_core.model.precision import product_type
from miracle_core.model.repeats import Repeats
from miracle_core.model.triton_tiles import gradient_kernel, loss_kernel

Groups = tuple[tuple[int, int], ...]

# Users, items and widths of a tile; a GPU's matrix units want at least 16 of each.
USERS, ITEMS, WIDTHS = 32, 64, 32
# Of float32, in which Triton passes numbers.
LEAST = torch.finfo(torch.float32).min


def cross_entropy(
    vectors: Tensor,
    items: Tensor,
    targets: Tensor,
    groups: Groups,
    scale: float,
    item_bias: Tensor | None,
    target_bias: Tensor | None,
    repeats: Repeats | None,
) -> Tensor:
    """What :func:`miracle_core.model.scoring.max_interest_cross_entropy` says.

    Args:
        vectors: [interests, d], in the order of :class:`Interests`, like ``groups``.
        items: [items, d].
        targets: int64 [users].
        groups: (interests a user, users) of each run.
        scale: what scores are multiplied with.
        item_bias: [items] or None.
        target_bias: [users] or None.
        repeats: the candidates that users have had, or None.
    """
    gain = None if repeats is None else repeats.gain
    loss: Tensor = _CrossEntropy.apply(
        vectors, items, targets, groups, scale, item_bias, target_bias, repeats, gain
    )
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        items: Tensor,
        targets: Tensor,
        groups: Groups,
        scale: float,
        item_bias: Tensor | None,
        target_bias: Tensor | None,
        repeats: Repeats | None,
        gain: Tensor | None,
    ) -> Tensor:
        exact = torch.promote_types(vectors.dtype, torch.float32)
        low = product_type(vectors)
        vectors, items = vectors.to(low).contiguous(), items.to(low).contiguous()
        had, bounds = _by_user(repeats, len(targets), len(items))
        normaliser = vectors.new_empty(targets.numel(), dtype=exact)
        own, repeated = torch.empty_like(normaliser), torch.zeros_like(normaliser)
        biases = [None if bias is None else bias.contiguous() for bias in (item_bias, target_bias)]
        given = (vectors, items, targets.contiguous(), *biases, had, bounds, gain, normaliser)
        ctx.groups, ctx.scale, ctx.rounds = groups, scale, _rounds(had, len(items))
        for (k, n), _, users, tensors in _of_groups(groups, given):
            loss_kernel[(triton.cdiv(n, USERS),)](
                *tensors,
                *(own[users], repeated[users]),
                *(n, len(items), k, items.shape[1], scale, ctx.rounds, LEAST),
                *(*_flags(given), USERS, ITEMS, WIDTHS),
            )
        ctx.save_for_backward(*given, repeated.sum())
        return (normaliser - own).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        *given, d_gain = ctx.saved_tensors
        items, normaliser = given[1], given[-1]
        d_vectors, d_items = (torch.zeros_like(x, dtype=normaliser.dtype) for x in given[:2])
        wanted = [side for side in (False, True) if ctx.needs_input_grad[int(side)]]
        for (k, n), rows, _, tensors in _of_groups(ctx.groups, given):
            for of_items in wanted:
                tiles = triton.cdiv(len(items), ITEMS) if of_items else triton.cdiv(n, USERS)
                gradient_kernel[(tiles,)](
                    *tensors,
                    *(d_vectors[rows], d_items),
                    *(n, len(items), k, items.shape[1], ctx.scale, ctx.rounds),
                    *(of_items, *_flags(given), USERS, ITEMS, WIDTHS),
                )
        factor = d_loss * (ctx.scale / normaliser.numel())
        d_gain = d_gain * factor if ctx.needs_input_grad[-1] else None
        return d_vectors * factor, d_items * factor, *(None,) * 6, d_gain


def _by_user(
    repeats: Repeats | None, n_users: int, n_items: int
) -> tuple[Tensor | None, Tensor | None]:
    """The items that users have had, each user's rising, and where each user's begin and end.

    Returns:
        int64 [pairs] and int32 [users + 1].
    """
    if repeats is None:
        return None, None
    pairs = (repeats.users * n_items + repeats.items).sort().values
    users = torch.arange(n_users + 1, device=pairs.device)
    return pairs % n_items, torch.searchsorted(pairs, users * n_items, out_int32=True)


def _rounds(had: Tensor | None, n_items: int) -> int:
    """Halvings that end any search: a user has had each item once at most.

    Of what is known without asking the GPU. Asking it for the longest history would be to wait.
    """
    return 0 if had is None else min(len(had), n_items).bit_length()


def _flags(given: Sequence[Any]) -> tuple[bool, bool, bool]:
    """Whether there are a bias of items, one of targets, and a gain of repeats."""
    _, _, _, item_bias, target_bias, _, _, gain, _ = given
    return item_bias is not None, target_bias is not None, gain is not None


def _of_groups(
    groups: Groups, given: Sequence[Any]
) -> Iterator[tuple[tuple[int, int], slice, slice, tuple[Tensor, ...]]]:
    """Each group with its rows of interests, its users, and its part of the kernels' inputs.

    A kernel that is told to leave a bias or repeats out is given some other tensor in their place.
    """
    vectors, items, targets, item_bias, target_bias, had, bounds, gain, normaliser = given
    row = user = 0
    for k, n in groups:
        rows, users = slice(row, row + k * n), slice(user, user + n)
        part = (
            vectors[rows],
            items,
            targets[users],
            items if item_bias is None else item_bias,
            items if target_bias is None else target_bias[users],
            *((items,) * 3 if gain is None else (had, bounds[user : user + n + 1], gain)),
            normaliser[users],
        )
        yield (k, n), rows, users, part
        row, user = rows.stop, users.stop
