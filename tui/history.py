"""The history that is being edited, with undo. It depends on no model and no screen.

The items and the user they belong to form one state: one undo step restores both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from miracle_core.recommender.given import Known, NewTitle

UNDO_STEPS = 200


@dataclass(frozen=True)
class Entry:
    """One item of the history.

    Attributes:
        item: the catalogue item, or None for a new one.
        title: the title; a new item has nothing else.
        on: whether the item counts.
    """

    item: int | None
    title: str
    on: bool = True

    @property
    def given(self) -> Known:
        """The entry as the Recommender accepts it."""
        return NewTitle(self.title) if self.item is None else self.item


@dataclass(frozen=True)
class OpenUser:
    """The user of the data set whose history is shown.

    Attributes:
        user_id: the user's id.
        held_out: the held-out item, which came next, or None.
        own: the user's history in the data set, unedited.
        place: the user's position in ``order``.
        order: users in the table's order, for stepping to the next and previous.
    """

    user_id: str
    held_out: int | None
    own: tuple[Entry, ...]
    place: int
    order: Sequence[int]


@dataclass(frozen=True)
class Moment:
    """The state that one undo step restores.

    Attributes:
        entries: the entries, oldest first.
        user: the user who was open, or None.
    """

    entries: tuple[Entry, ...] = ()
    user: OpenUser | None = None


class History:
    """A list of entries, oldest first, with undo and redo. Every edit is one step.

    Attributes:
        revision: increases with every change, so that a screen can tell what it has shown.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.revision = 0
        self._now = Moment(tuple(entries))
        self._undo: list[Moment] = []
        self._redo: list[Moment] = []

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries."""
        return self._now.entries

    @property
    def user(self) -> OpenUser | None:
        """The user whose history this is, or None. Edits keep the user."""
        return self._now.user

    @property
    def on(self) -> list[int]:
        """Indices of the entries that count."""
        return [place for place, entry in enumerate(self.entries) if entry.on]

    @property
    def given(self) -> list[Known]:
        """The entries that count, as the Recommender accepts them."""
        return [entry.given for entry in self.entries if entry.on]

    def add(self, *entries: Entry) -> None:
        """Append entries."""
        if entries:
            self.replace([*self.entries, *entries])

    def remove(self, place: int) -> None:
        """Remove an entry."""
        if 0 <= place < len(self):
            self.replace([*self.entries[:place], *self.entries[place + 1 :]])

    def move(self, place: int, by: int) -> int:
        """Move an entry, and return its new index."""
        target = min(max(place + by, 0), len(self) - 1)
        if 0 <= place < len(self) and target != place:
            entries = list(self.entries)
            entries.insert(target, entries.pop(place))
            self.replace(entries)
        return target

    def toggle(self, place: int) -> None:
        """Switch an entry off or on."""
        if 0 <= place < len(self):
            entries = list(self.entries)
            entries[place] = replace(entries[place], on=not entries[place].on)
            self.replace(entries)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Replace all entries; the user stays open."""
        self._step(Moment(tuple(entries), self.user))

    def open(self, user: OpenUser) -> None:
        """Open a user, whose history replaces this one."""
        self._step(Moment(user.own, user))

    def clear(self) -> None:
        """Remove all entries and close the user."""
        self._step(Moment())

    def undo(self) -> bool:
        """Undo the last edit; return False if there is none."""
        if not self._undo:
            return False
        self._redo.append(self._now)
        self._set(self._undo.pop())
        return True

    def redo(self) -> bool:
        """Redo the last undone edit; return False if there is none."""
        if not self._redo:
            return False
        self._undo.append(self._now)
        self._set(self._redo.pop())
        return True

    def _step(self, new: Moment) -> None:
        if new == self._now:
            return
        self._undo = [*self._undo[-UNDO_STEPS + 1 :], self._now]
        self._redo.clear()
        self._set(new)

    def _set(self, moment: Moment) -> None:
        self._now = moment
        self.revision += 1
