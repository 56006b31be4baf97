"""What a system makes of histories: one to many vectors a user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# (interests a user, users) of each run of users with equally many interests.
Groups = tuple[tuple[int, int], ...]


def group_slices(groups: Groups) -> Iterator[tuple[int, slice, slice]]:
    """Where each run of users lies.

    Yields:
        How many interests each of its users has, the run's interests, and its users.
    """
    row = user = 0
    for k, n in groups:
        yield k, slice(row, row + k * n), slice(user, user + n)
        row, user = row + k * n, user + n


@dataclass(frozen=True)
class Interests:
    """The interests of a batch of users, users with equally many next to each other.

    Attributes:
        vectors: [interests, d], as scores multiply them; a user's are adjacent, by rising number.
        which: int64 [interests], which of the system's interests each one is: MIRACLE's capsule j
            (eq. 8), 0 in a system with one interest a user.
        users: int64 [histories], the packed history that the i-th run of interests belongs to.
        groups: (interests a user, users) of each run, fewest interests first.
        active: bool [interests], which rows hold an interest. In a padded batch all users have
            equally many rows, and those without an interest mean nothing. None: all rows do.
        added: [interests], what is added to the scores that each gives (a shop's boost); None for
            nothing.
        raw: [interests, d], what ``vectors`` were before they became directions; None where they
            are as the system made them.
    """

    vectors: Tensor
    which: Tensor
    users: Tensor
    groups: Groups
    active: Tensor | None = None
    raw: Tensor | None = None
    added: Tensor | None = None

    @property
    def n_users(self) -> int:
        """Users in the batch."""
        return self.users.numel()

    def places(self) -> Tensor:
        """The place in ``users`` of each packed history, int64 [histories]."""
        places = torch.empty_like(self.users)
        places[self.users] = torch.arange(len(places), device=places.device)
        return places

    @classmethod
    def single(cls, vectors: Tensor) -> Interests:
        """One interest a user.

        Args:
            vectors: [users, d], in the order of the packed histories.
        """
        users = torch.arange(vectors.shape[0], device=vectors.device)
        return cls(vectors, torch.zeros_like(users), users, ((1, vectors.shape[0]),))

    def replace_vectors(self, vectors: Tensor) -> Interests:
        """The same interests with other vectors [interests, d]; ``raw`` are these."""
        return replace(self, vectors=vectors, raw=self.vectors)

    def strengths(self) -> Tensor:
        """The length of each interest as the system made it, [interests].

        In MIRACLE it is ||u||, below 1 (eq. 13).
        """
        raw = self.vectors if self.raw is None else self.raw
        lengths: Tensor = torch.linalg.vector_norm(raw, dim=-1)
        return lengths

    def counts(self) -> Tensor:
        """Interests of each of ``users``, int64 [histories]."""
        if self.active is not None:
            return self.active.view(self.n_users, -1).sum(1)
        device = self.users.device
        return torch.repeat_interleave(
            # Without a group the lists would be of floats.
            torch.tensor([k for k, _ in self.groups], dtype=torch.int64, device=device),
            torch.tensor([n for _, n in self.groups], dtype=torch.int64, device=device),
        )

    def used(self) -> Tensor:
        """The number of each interest that is there, int64 [active interests]."""
        return self.which if self.active is None else self.which[self.active]

    def only(self, kept: Tensor) -> tuple[Interests, Tensor]:
        """Some of the interests; a user who has none left is left out.

        Args:
            kept: bool [interests].

        Returns:
            The interests, whose users are numbered anew, and which of the packed histories those
            are, bool [histories].
        """
        if self.active is not None:
            kept = kept & self.active
        n = self.n_users
        everyone = torch.arange(n, device=kept.device)
        # In a padded batch all users have equally many rows, whatever they hold.
        rows_each = self.counts() if self.active is None else len(kept) // n
        owner = torch.repeat_interleave(everyone, rows_each)
        counts = torch.bincount(owner[kept], minlength=n)
        order = counts.argsort(stable=True)
        order = order[counts[order] > 0]
        place = torch.empty(n, dtype=torch.int64, device=kept.device)
        place[order] = torch.arange(len(order), device=kept.device)
        rows = kept.nonzero().squeeze(1)
        rows = rows[place[owner[rows]].argsort(stable=True)]
        chosen = torch.zeros(n, dtype=torch.bool, device=kept.device)
        chosen[self.users[order]] = True
        number = chosen.cumsum(0) - 1
        sizes, users = torch.unique_consecutive(counts[order], return_counts=True)
        groups = tuple(zip(sizes.tolist(), users.tolist(), strict=True))
        found = Interests(
            self.vectors[rows],
            self.which[rows],
            number[self.users[order]],
            groups,
            raw=None if self.raw is None else self.raw[rows],
            added=None if self.added is None else self.added[rows],
        )
        return found, chosen

    def rows_of(self, users: Tensor, which: Tensor) -> Tensor:
        """Where the interests of some (user, number) pairs lie in ``vectors``.

        Args:
            users: int64 [pairs], packed histories.
            which: int64 [pairs], the number of an interest that this user has.

        Returns:
            int64 [pairs].
        """
        if self.active is not None:
            ((k, n),) = self.groups
            places = self.which.view(n, k)[users] == which.unsqueeze(1)
            places = places & self.active.view(n, k)[users]
            return users * k + places.to(torch.int8).argmax(1)
        width = int(torch.cat([self.which, which]).max()) + 1
        own = torch.repeat_interleave(self.users, self.counts()) * width + self.which
        order = own.argsort()
        return order[torch.searchsorted(own[order], users * width + which)]
