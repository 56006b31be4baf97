"""Histories of a batch with no padding at all.

The valid items of all histories lie end to end in one row of tokens, histories of one length next
to each other. What treats an item alone (a linear layer, a norm) runs once over all tokens; what
mixes the items of a history (attention, routing) sees each group of equal length as a plain
``[histories, length, ...]`` view. Padding can't influence a result because there is none.
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
    """A batch of histories, packed.

    Attributes:
        items: int64 [tokens], item indices; histories end to end, shortest first.
        positions: int64 [tokens], the place of each item counted so that the newest item of any
            history is at ``max_length - 1``.
        groups: (length, histories) of each run of equal length, shortest first.
        order: int64 [histories], packed history b is the caller's history ``order[b]``.
    """

    items: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int], ...]
    order: Tensor

    @property
    def n_histories(self) -> int:
        """Histories in the batch."""
        return self.order.numel()

    @property
    def n_tokens(self) -> int:
        """Items in all histories together."""
        return self.items.numel()

    @property
    def token_counts(self) -> list[int]:
        """Tokens of each group."""
        return [length * count for length, count in self.groups]

    def history_of_token(self) -> Tensor:
        """The packed history each token belongs to, int64 [tokens]."""
        return torch.repeat_interleave(self.lengths(), output_size=self.n_tokens)

    def lengths(self) -> Tensor:
        """Items of each packed history, int64 [histories]."""
        device = self.items.device
        return torch.repeat_interleave(
            torch.tensor([length for length, _ in self.groups], device=device),
            torch.tensor([count for _, count in self.groups], device=device),
        )

    def last_tokens(self) -> Tensor:
        """The place of each history's newest item among all tokens, int64 [histories]."""
        return self.lengths().cumsum(0) - 1

    def places(self) -> Tensor:
        """Each item's place in its history, the oldest at 0, int64 [tokens]."""
        lengths = self.lengths()
        starts = (lengths.cumsum(0) - lengths)[self.history_of_token()]
        return torch.arange(self.n_tokens, device=starts.device) - starts

    def select(self, chosen: Tensor) -> tuple[Packed, Tensor]:
        """Some of the histories as a batch of their own, in the same order.

        Args:
            chosen: bool [histories], which of the packed histories are taken; at least one.

        Returns:
            The smaller batch (its ``order`` still names the caller's histories), and the places
            of its items among this batch's, int64 [tokens].
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
            ),
            tokens,
        )

    def keep(self, kept: Tensor) -> tuple[Packed, Tensor]:
        """Some of each history's items as a batch of their own; what is left moves together.

        Args:
            kept: bool [tokens], which items stay; at least one of each history.

        Returns:
            The batch, histories sorted anew by length (its ``order`` still names the caller's),
            and the places of its items among this batch's, int64 [tokens].
        """
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

    def appended(self, items: Tensor) -> tuple[Packed, Tensor]:
        """The same histories, each with one more item, which becomes its newest.

        The places of the others stay, so that there is one place more than in the histories alone.

        Args:
            items: int64 [histories], the item that each gets, in packed order.

        Returns:
            The longer batch, and where each of its tokens comes from, int64 [tokens + histories]:
            a token of this batch, or ``n_tokens`` + a history for the one that it got.
        """
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

    def to(self, device: torch.device | str) -> Packed:
        """The same batch on another device."""
        return Packed(
            self.items.to(device, non_blocking=True),
            self.positions.to(device, non_blocking=True),
            self.groups,
            self.order.to(device, non_blocking=True),
        )


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
        ValueError: a history is empty; a user of no item has no interests.
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
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    ends = np.cumsum(lengths)
    flat = np.array([item for history in histories for item in history], dtype=np.int64)
    return pack(flat, ends - lengths, ends, max_length)
