"""The dialog that writes what is on screen to a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from miracle_core.errors import MiracleError
from miracle_core.files import write_json, write_text
from tui.background import as_told
from tui.display import shown
from tui.exports import csv_text
from tui.screens.modal import Dialog
from tui.widgets.rows import Column, Rows

_FORMS = {
    "json": "everything, with the fields of miracle recommend --json",
    "csv": "the list",
    "svg": "a picture of the screen",
}


class ExportScreen(Dialog[None]):
    """Ask for a format and a file name. Replacing an existing file takes a second Enter.

    Args:
        folder: the folder that relative names refer to.
        stem: the proposed file name, without its suffix.
        forms: the content per format: any value for ``json``, a table for ``csv``, a text for
            ``svg``; None if the screen does not offer the format.
    """

    def __init__(self, folder: Path, stem: str, forms: Mapping[str, Any]) -> None:
        super().__init__()
        self._folder, self._stem = folder, stem
        self._forms = {form: value for form, value in forms.items() if value is not None}
        self._asked: Path | None = None

    def compose(self) -> ComposeResult:
        """The formats, the file name and a message."""
        with Vertical(id="dialog"):
            yield Rows(Column("", 6), Column("", -1), id="forms")
            yield Static("file", markup=False, classes="label")
            yield Input(id="file", compact=True)
            yield Static("", id="export-says", markup=False)

    def on_mount(self) -> None:
        """Show the formats, and propose the first, which is the most complete."""
        dialog = self.query_one("#dialog")
        dialog.border_title = "Export"
        dialog.border_subtitle = "Enter writes · Esc closes"
        forms = list(self._forms)
        rows = self.query_one("#forms", Rows)
        rows.styles.height = len(forms)
        rows.show(len(forms), lambda place: (forms[place], _FORMS[forms[place]]))
        self._propose(0)
        rows.focus()

    def _propose(self, place: int) -> None:
        form = list(self._forms)[place]
        self.query_one("#file", Input).value = f"{self._stem}.{form}"

    def on_rows_highlighted(self, event: Rows.Highlighted) -> None:
        """Propose a name with the suffix of the chosen format."""
        self._propose(event.place)

    def on_rows_selected(self, event: Rows.Selected) -> None:
        """Enter on a format writes the file."""
        self._write()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the file name writes the file."""
        self._write()

    def _write(self) -> None:
        name = self.query_one("#file", Input).value.strip()
        path = self._folder / os.path.expanduser(name)  # noqa: PTH111 - no error for ~nobody
        form = path.suffix.removeprefix(".").lower()
        if form not in self._forms:
            self._say(f"The name has to end in one of: {', '.join(f'.{f}' for f in self._forms)}")
            return
        if os.path.lexists(path) and path != self._asked:
            self._asked = path
            self._say("That file is there already. Enter once more replaces it.")
            return
        value = self._forms[form]
        try:
            if form == "json":
                write_json(path, value)
            else:
                write_text(path, csv_text(value) if form == "csv" else value)
        except (MiracleError, OSError, ValueError, TypeError) as error:  # or text not in UTF-8
            self._say(f"Can't be written: {shown(as_told(error).what)}")
            return
        self.app.notify(f"Written: {shown(str(path))}", markup=False)
        self.dismiss(None)

    def _say(self, text: str) -> None:
        self.query_one("#export-says", Static).update(text)
