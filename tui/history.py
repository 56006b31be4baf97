"""The history that a person edits, with undo. It knows nothing of models or screens.

The items and the user whose items they are belong together: one step of undo brings both back.
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
        title: its title; a new item is nothing but that.
        on: whether it counts.
    """

    item: int | None
    title: str
    on: bool = True

    @property
    def given(self) -> Known:
        """What the Recommender takes."""
        return NewTitle(self.title) if self.item is None else self.item


@dataclass(frozen=True)
class OpenUser:
    """The user of the data set whose history is shown.

    Attributes:
        user_id: the id.
        held_out: the item that came next, or None.
        own: the user's history as the data set has it.
        place: where the user stands in ``order``.
        order: users in the table's order, for stepping to the next and previous.
    """

    user_id: str
    held_out: int | None
    own: tuple[Entry, ...]
    place: int
    order: Sequence[int]


@dataclass(frozen=True)
class Moment:
    """What one step of undo brings back.

    Attributes:
        entries: the entries, oldest first.
        user: the user who was open, or None.
    """

    entries: tuple[Entry, ...] = ()
    user: OpenUser | None = None


class History:
    """Entries, oldest first, with undo and redo. Every edit is one step.

    Attributes:
        revision: rises with every change, so that a screen knows what it has shown.
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
        """Places of the entries that count."""
        return [place for place, entry in enumerate(self.entries) if entry.on]

    @property
    def given(self) -> list[Known]:
        """What the Recommender takes: the entries that count."""
        return [entry.given for entry in self.entries if entry.on]

    def add(self, *entries: Entry) -> None:
        """Put entries at the end."""
        if entries:
            self.replace([*self.entries, *entries])

    def remove(self, place: int) -> None:
        """Take an entry out."""
        if 0 <= place < len(self):
            self.replace([*self.entries[:place], *self.entries[place + 1 :]])

    def move(self, place: int, by: int) -> int:
        """Move an entry; returns its new place."""
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
        """Put another list in the place of this one."""
        self._step(Moment(tuple(entries), self.user))

    def open(self, user: OpenUser) -> None:
        """Put a user's own history in the place of this one."""
        self._step(Moment(user.own, user))

    def clear(self) -> None:
        """Start with nothing; no user is open then."""
        self._step(Moment())

    def undo(self) -> bool:
        """Take the last edit back; False if there is none."""
        if not self._undo:
            return False
        self._redo.append(self._now)
        self._set(self._undo.pop())
        return True

    def redo(self) -> bool:
        """Do what was undone last again; False if there is nothing."""
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
