"""Choosing a run folder anywhere on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DirectoryTree, Input, Static

from tui.display import shown
from tui.runs import is_run
from tui.screens.modal import Dialog


class FolderTree(DirectoryTree):
    """Folders only."""

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        """Leave out files and hidden folders."""
        # Unlike Path.is_dir, this takes what may not be looked at for no folder.
        return [p for p in paths if os.path.isdir(p) and not p.name.startswith(".")]  # noqa: PTH112


class PickFolderScreen(Dialog[Path]):
    """A path to type, and a tree to walk.

    Args:
        start: where to begin.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "open", "Open"),
    ]

    def __init__(self, start: Path) -> None:
        super().__init__()
        self._start = start

    def compose(self) -> ComposeResult:
        """Path, tree, and what is wrong."""
        with Vertical(id="dialog", classes="-tall"):
            yield Input(str(self._start), id="folder", compact=True)
            yield FolderTree(self._start, id="tree")
            yield Static("", id="export-says", markup=False)

    def on_mount(self) -> None:
        """The path first."""
        dialog = self.query_one("#dialog")
        dialog.border_title = "Open a run folder"
        dialog.border_subtitle = "Enter opens · Tab to the tree · Esc closes"
        self.query_one("#folder", Input).focus()

    def on_directory_tree_directory_selected(self, event: DirectoryTree.DirectorySelected) -> None:
        """A run in the tree is opened; another folder's path is shown, and it unfolds."""
        self.query_one("#folder", Input).value = str(event.path)
        if is_run(event.path):
            self.action_open()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the path."""
        self.action_open()

    def action_open(self) -> None:
        """Open the folder, if it is a run."""
        typed = self.query_one("#folder", Input).value.strip()
        folder = self._start / os.path.expanduser(typed)  # noqa: PTH111 - no error for ~nobody
        if is_run(folder):
            self.dismiss(folder)
            return
        found = os.path.isdir(folder)  # noqa: PTH112
        what = "is not a run: it has no config.toml and data" if found else "is not a folder"
        self.query_one("#export-says", Static).update(f"{shown(str(folder))} {what}.")
