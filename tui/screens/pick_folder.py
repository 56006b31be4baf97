"""The dialog to choose a run or a Dataset anywhere on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DirectoryTree, Input, Static

from miracle_core.runs.summary import is_dataset, is_run
from tui.display import shown
from tui.screens.modal import Dialog


@dataclass(frozen=True)
class Wanted:
    """The kind of folder to choose.

    Attributes:
        title: the title of the dialog.
        fits: returns whether a folder is of this kind.
        lacks: the message for a folder that is not.
    """

    title: str
    fits: Callable[[Path], bool]
    lacks: str


RUN = Wanted("Open a run folder", is_run, "is not a run: it has no config.toml and data")
DATASET = Wanted(
    "A pre-trained run reads any Dataset: which one?",
    is_dataset,
    "is not a Dataset: it has no manifest.json",
)


class FolderTree(DirectoryTree):
    """A tree that shows only folders."""

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        """Leave out files and hidden folders."""
        # Unlike Path.is_dir, os.path.isdir returns False for folders that can't be accessed.
        return [p for p in paths if os.path.isdir(p) and not p.name.startswith(".")]  # noqa: PTH112


class PickFolderScreen(Dialog[Path]):
    """A box to type a path, and a tree to choose a folder.

    Args:
        start: the folder to start in.
        wanted: the kind of folder to choose.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "open", "Open"),
    ]

    def __init__(self, start: Path, wanted: Wanted) -> None:
        super().__init__()
        self._start, self._wanted = start, wanted

    def compose(self) -> ComposeResult:
        """The path, the tree and a message."""
        with Vertical(id="dialog", classes="-tall"):
            yield Input(str(self._start), id="folder", compact=True)
            yield FolderTree(self._start, id="tree")
            yield Static("", id="export-says", markup=False)

    def on_mount(self) -> None:
        """Set the titles, and focus the path."""
        dialog = self.query_one("#dialog")
        dialog.border_title = self._wanted.title
        dialog.border_subtitle = "Enter opens · Tab to the tree · Esc closes"
        self.query_one("#folder", Input).focus()

    def on_directory_tree_directory_selected(self, event: DirectoryTree.DirectorySelected) -> None:
        """Open the folder if it is of the wanted kind; otherwise show its path."""
        self.query_one("#folder", Input).value = str(event.path)
        if self._wanted.fits(event.path):
            self.action_open()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the path opens the folder."""
        self.action_open()

    def action_open(self) -> None:
        """Open the typed folder if it is of the wanted kind."""
        typed = self.query_one("#folder", Input).value.strip()
        folder = self._start / os.path.expanduser(typed)  # noqa: PTH111 - no error for ~nobody
        if self._wanted.fits(folder):
            self.dismiss(folder)
            return
        found = os.path.isdir(folder)  # noqa: PTH112
        what = self._wanted.lacks if found else "is not a folder"
        self.query_one("#export-says", Static).update(f"{shown(str(folder))} {what}.")
