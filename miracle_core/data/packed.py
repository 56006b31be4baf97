"""Histories of a batch, in one of two layouts.

**Packed**: no padding at all. The items of all histories lie end to end in one row of tokens,
histories of one length next to each other. A layer that treats each item alone (a linear layer, a
norm) runs once over all tokens. One that mixes the items of a history (attention, routing) sees
each group of equal length as a plain ``[histories, length, ...]`` view. Padding can't influence a
result because there is none. This is the faster layout on a processor.

**Padded**: every history is filled up to N places on its left, so there is one group, and a mask
says which tokens are items. All shapes are fixed and nothing is counted from the data, which makes
this the faster layout on a GPU (docs/decisions/0031). Modules take either: the methods of
:class:`Packed` hide the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from miracle_core.data.ragged import ragged


@dataclass(frozen=True)
class Packed:
    """A batch of histories, packed or padded.

    Attributes:
        items: int64 [tokens], item indices; histories end to end, shortest first. A padded
            history begins with places that repeat its newest item and mean nothing.
        positions: int64 [tokens], the place of each item, counted so that the newest item of any
            history is at ``max_length - 1``.
        groups: (length, histories) of each run of equal length, shortest first; a padded batch has
            the single run ((N, histories),).
        order: int64 [histories], packed history b is the caller's history ``order[b]``.
        valid: bool [tokens], which tokens of a padded batch are items; None in a packed one.
    """

    items: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int], ...]
    order: Tensor
    valid: Tensor | None = None

    @property
    def n_histories(self) -> int:
        """Histories in the batch."""
        return self.order.numel()

    @property
    def n_tokens(self) -> int:
        """Tokens of all histories together, padding included."""
        return self.items.numel()

    @property
    def token_counts(self) -> list[int]:
        """Tokens of each group."""
        return [length * count for length, count in self.groups]

    def history_of_token(self) -> Tensor:
        """The packed history each token belongs to, int64 [tokens]."""
        if self.valid is not None:
            ((length, count),) = self.groups
            histories = torch.arange(count, device=self.items.device)
            return histories.unsqueeze(1).expand(-1, length).reshape(-1)
        return torch.repeat_interleave(self.lengths(), output_size=self.n_tokens)

    def lengths(self) -> Tensor:
        """Items of each packed history, int64 [histories]."""
        if self.valid is not None:
            return self.valid.view(self.n_histories, -1).sum(1)
        device = self.items.device
        return torch.repeat_interleave(
            torch.tensor([length for length, _ in self.groups], device=device),
            torch.tensor([count for _, count in self.groups], device=device),
        )

    def last_tokens(self) -> Tensor:
        """The place of each history's newest item among all tokens, int64 [histories]."""
        if self.valid is not None:
            ((length, _),) = self.groups
            return torch.arange(length - 1, self.n_tokens, length, device=self.items.device)
        return self.lengths().cumsum(0) - 1

    def places(self) -> Tensor:
        """Each item's place in its history, the oldest at 0, int64 [tokens]; 0 at padding."""
        if self.valid is not None:
            before = self.valid.view(self.n_histories, -1).cumsum(1) - 1
            return before.clamp_min_(0).flatten()
        lengths = self.lengths()
        starts = (lengths.cumsum(0) - lengths)[self.history_of_token()]
        return torch.arange(self.n_tokens, device=starts.device) - starts

    # Only the items, not the padding.

    def filled(self, x: Tensor, value: float) -> Tensor:
        """Values of tokens, [tokens] or [tokens, any], with ``value`` at padding."""
        if self.valid is None:
            return x
        return x.masked_fill(self.off(x.dim()), value)

    def off(self, dims: int = 1) -> Tensor:
        """Which tokens are padding, bool [tokens, 1, ...] with ``dims`` dimensions.

        Raises:
            ValueError: the batch is packed.
        """
        if self.valid is None:
            raise ValueError("a packed batch has no padding")
        return self.valid.logical_not().view(-1, *[1] * (dims - 1))

    def n_items(self) -> int | Tensor:
        """How many items there are; in a padded batch a scalar on the device, never read back."""
        return self.n_tokens if self.valid is None else self.valid.sum()

    def mean(self, x: Tensor) -> Tensor:
        """The mean of the tokens' values over the items: [tokens, any] to [any]."""
        if self.valid is None:
            return x.mean(0)
        return self.filled(x, 0.0).sum(0) / self.valid.sum()

    def count(self, numbers: Tensor, n: int) -> Tensor:
        """How many items have each number: int64 [tokens], below ``n``, to int64 [n]."""
        if self.valid is None:
            return torch.bincount(numbers, minlength=n)
        return numbers.new_zeros(n).scatter_add_(0, numbers, self.valid.to(numbers.dtype))

    def some(self, x: Tensor, chosen: Tensor) -> Tensor:
        """The rows of chosen items. In a padded batch all rows: :meth:`counted` says which to use.

        The number of chosen items would have to be read from the device, and a padded step never
        waits for that.

        Args:
            x: [tokens, ...].
            chosen: bool [tokens].
        """
        return x[chosen] if self.valid is None else x

    def counted(self, chosen: Tensor) -> Tensor | None:
        """Which rows of :meth:`some` are of chosen items, bool [tokens]; None where all are."""
        return None if self.valid is None else chosen & self.valid

    def select(self, chosen: Tensor) -> tuple[Packed, Tensor]:
        """Some of the histories as a batch of their own, in the same order.

        The number of histories is read from the device. A padded training step, which never waits
        for that, must not call this: it keeps all histories, and leaves some out of its sums.

        Args:
            chosen: bool [histories], which of the packed histories are taken; at least one.

        Returns:
            The smaller batch (its ``order`` still names the caller's histories), and the places
            of its tokens among this batch's, int64 [tokens].
        """
        tokens = chosen[self.history_of_token()].nonzero().squeeze(1)
        counts = [int(part.sum()) for part in chosen.split([count for _, count in self.groups])]
        kept = zip(self.groups, counts, strict=True)
        return (
            Packed(
                self.items[tokens],
                self.positions[tokens],
                tuple((length, count) for (length, _), count in kept if count),
                self.order[chosen],
                None if self.valid is None else self.valid[tokens],
            ),
            tokens,
        )

    def keep(self, kept: Tensor) -> tuple[Packed, Tensor]:
        """Some of each history's items as a batch of their own, without gaps.

        Args:
            kept: bool [tokens], which items stay; at least one of each history. Its values at
                padding are ignored.

        Returns:
            The batch, and where each of its tokens comes from among this batch's, int64 [tokens].
            Packed histories are sorted anew by length (its ``order`` still names the caller's);
            padded ones stay where they are, and as wide.
        """
        if self.valid is not None:
            return self._keep_padded(kept & self.valid)
        history = self.history_of_token()
        lengths = torch.bincount(history[kept], minlength=self.n_histories)
        by_length = lengths.argsort(stable=True)
        rank = torch.empty_like(by_length)
        rank[by_length] = torch.arange(self.n_histories, device=rank.device)
        # Items by their history's new rank; within a history they stay in order.
        tokens = kept.nonzero().squeeze(1)
        tokens = tokens[rank[history[tokens]].argsort(stable=True)]
        lengths = lengths[by_length]
        length, count = lengths.unique_consecutive(return_counts=True)
        ends = lengths.cumsum(0)
        places = torch.arange(len(tokens), device=tokens.device)
        to_end = ends.repeat_interleave(lengths, output_size=len(tokens)) - places
        newest = self.positions[self.last_tokens()][:1]
        return (
            Packed(
                self.items[tokens],
                newest + 1 - to_end,
                tuple(zip(length.tolist(), count.tolist(), strict=True)),
                self.order[by_length],
            ),
            tokens,
        )

    def _keep_padded(self, kept: Tensor) -> tuple[Packed, Tensor]:
        """:meth:`keep` for padded histories: kept items move to the right, in order."""
        ((length, count),) = self.groups
        last = kept.view(count, length).to(torch.int8).argsort(dim=1, stable=True)
        starts = torch.arange(0, self.n_tokens, length, device=last.device).unsqueeze(1)
        tokens = (starts + last).flatten()
        less = Packed(self.items[tokens], self.positions, self.groups, self.order, kept[tokens])
        return less, tokens

    def appended(self, items: Tensor) -> tuple[Packed, Tensor]:
        """The same histories, each with one more item, which becomes its newest.

        The positions of the others stay as they are, so there is one position more, at the end.

        Args:
            items: int64 [histories], the item that each gets, in packed order.

        Returns:
            The longer batch, and where each of its tokens comes from, int64 [tokens + histories]:
            a token of this batch, or ``n_tokens`` plus the history's number for a new item.
        """
        if self.valid is not None:
            return self._appended_padded(items, self.valid)
        last = self.last_tokens()
        histories = torch.arange(self.n_histories, device=last.device)
        own = torch.arange(self.n_tokens, device=last.device)
        places = torch.cat([own + self.history_of_token(), last + histories + 1])
        source = torch.empty_like(places)
        source[places] = torch.arange(len(places), device=places.device)
        return (
            Packed(
                torch.cat([self.items, items])[source],
                torch.cat([self.positions, self.positions[last] + 1])[source],
                tuple((length + 1, count) for length, count in self.groups),
                self.order,
            ),
            source,
        )

    def _appended_padded(self, items: Tensor, valid: Tensor) -> tuple[Packed, Tensor]:
        """:meth:`appended` for padded histories: one more column."""
        ((length, count),) = self.groups

        def beside(own: Tensor, more: Tensor) -> Tensor:
            return torch.cat([own.view(count, length), more.unsqueeze(1)], 1).flatten()

        own = torch.arange(self.n_tokens + count, device=items.device)
        longer = Packed(
            beside(self.items, items),
            beside(self.positions, self.positions[self.last_tokens()] + 1),
            ((length + 1, count),),
            self.order,
            beside(valid, torch.ones_like(items, dtype=torch.bool)),
        )
        return longer, beside(own[: self.n_tokens], own[self.n_tokens :])

    def pinned(self, device: torch.device) -> Packed:
        """The same batch in pinned memory, from which a GPU copies by itself."""
        if device.type != "cuda":
            return self
        return Packed(
            self.items.pin_memory(),
            self.positions.pin_memory(),
            self.groups,
            self.order.pin_memory(),
            None if self.valid is None else self.valid.pin_memory(),
        )

    def to(self, device: torch.device | str) -> Packed:
        """The same batch on another device."""
        return Packed(
            self.items.to(device, non_blocking=True),
            self.positions.to(device, non_blocking=True),
            self.groups,
            self.order.to(device, non_blocking=True),
            None if self.valid is None else self.valid.to(device, non_blocking=True),
        )


def gather(sequences: Tensor, starts: Tensor, ends: Tensor, max_length: int) -> Packed:
    """Gather ``sequences[starts[i]:ends[i]]``, the last ``max_length`` items of each, padded.

    It works on the tensors' device, and all shapes are known beforehand.

    Args:
        sequences: integer [interactions], item indices.
        starts: int64 [histories], where each history begins; none is empty.
        ends: int64 [histories], one past where it ends.
        max_length: N, the places of each history.
    """
    n, device = len(starts), starts.device
    ends = ends.unsqueeze(1)
    places = ends + torch.arange(-max_length, 0, device=device)
    valid = places >= starts.unsqueeze(1)
    items = sequences[torch.where(valid, places, ends - 1)]
    return Packed(
        items.to(torch.int64).flatten(),
        torch.arange(max_length, device=device).repeat(n),
        ((max_length, n),),
        torch.arange(n, device=device),
        valid.flatten(),
    )


def pad(
    sequences: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    max_length: int,
) -> Packed:
    """Gather ``sequences[starts[i]:ends[i]]`` padded, as :func:`gather`, in the caller's order.

    Args:
        sequences: integer [interactions], item indices (may be memory-mapped).
        starts: int64 [histories], where each history begins.
        ends: int64 [histories], one past where it ends.
        max_length: N, the places of each history.

    Raises:
        ValueError: a history is empty: a user without items has no interests.
    """
    lengths = ends - starts
    if lengths.size and lengths.min() < 1:
        raise ValueError(f"history {int(np.argmin(lengths))} of the batch is empty")
    # Only the items that are read are copied.
    rows, places = ragged(np.maximum(starts, ends - max_length), np.minimum(lengths, max_length))
    own = torch.from_numpy(np.asarray(sequences[places], dtype=np.int64))
    after = torch.from_numpy(np.bincount(rows, minlength=len(starts)).cumsum())
    before = torch.cat([after.new_zeros(1), after[:-1]])
    return gather(own, before, after, max_length)


def pack(
    sequences: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    max_length: int | None,
) -> Packed:
    """Gather ``sequences[starts[i]:ends[i]]``, the last ``max_length`` items of each, as one batch.

    Args:
        sequences: integer [interactions], item indices (may be memory-mapped).
        starts: int64 [histories], where each history begins.
        ends: int64 [histories], one past where it ends.
        max_length: N, the most items kept of a history (its newest); None for all of them, N being
            the longest history's length.

    Raises:
        ValueError: a history is empty: a user without items has no interests.
    """
    if max_length is None:
        max_length = int((ends - starts).max(initial=0))
    lengths = np.minimum(ends - starts, max_length)
    if lengths.size and lengths.min() < 1:
        raise ValueError(f"history {int(np.argmin(lengths))} of the batch is empty")
    order = np.argsort(lengths, kind="stable")
    lengths = lengths[order]
    _, places = ragged(ends[order] - lengths, lengths)
    items = np.asarray(sequences[places], dtype=np.int64)
    positions = max_length - np.repeat(ends[order], lengths) + places
    unique, counts = np.unique(lengths, return_counts=True)
    return Packed(
        torch.from_numpy(items),
        torch.from_numpy(positions),
        tuple(zip(unique.tolist(), counts.tolist(), strict=True)),
        torch.from_numpy(order),
    )


def pack_lists(histories: Sequence[Sequence[int]], max_length: int) -> Packed:
    """Pack histories given as lists of item indices (oldest first)."""
    return pack(*_end_to_end(histories), max_length)


def pad_lists(histories: Sequence[Sequence[int]], max_length: int) -> Packed:
    """Pad histories given as lists of item indices (oldest first)."""
    return pad(*_end_to_end(histories), max_length)


def _end_to_end(
    histories: Sequence[Sequence[int]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    ends = np.cumsum(lengths)
    flat = np.array([item for history in histories for item in history], dtype=np.int64)
    return flat, ends - lengths, ends
