"""The history that a person edits: a list with undo. It knows nothing of models or screens."""

from __future__ import annotations

from collections.abc import Iterable
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


class History:
    """Entries, oldest first, with undo and redo. Every edit is one step.

    Attributes:
        entries: the entries.
        revision: rises with every change, so that a screen knows what it has shown.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: tuple[Entry, ...] = tuple(entries)
        self.revision = 0
        self._undo: list[tuple[Entry, ...]] = []
        self._redo: list[tuple[Entry, ...]] = []

    def __len__(self) -> int:
        return len(self.entries)

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
        new = tuple(entries)
        if new == self.entries:
            return
        self._undo = [*self._undo[-UNDO_STEPS + 1 :], self.entries]
        self._redo.clear()
        self._set(new)

    def undo(self) -> bool:
        """Take the last edit back; False if there is none."""
        if not self._undo:
            return False
        self._redo.append(self.entries)
        self._set(self._undo.pop())
        return True

    def redo(self) -> bool:
        """Do what was undone last again; False if there is nothing."""
        if not self._redo:
            return False
        self._undo.append(self.entries)
        self._set(self._redo.pop())
        return True

    def _set(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self.revision += 1
