"""State kept between two starts: the theme, the recent runs, and each run's exploration."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miracle_core.errors import InputError, MiracleError
from miracle_core.files import write_json
from miracle_core.runs.summary import real_path
from tui.exploration import TOP_K, Exploration
from tui.history import Entry, History
from tui.on_disk import Source
from tui.widgets.heatmap import VIEWS

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender

RECENT = 12


def session_file() -> Path:
    """The path of the session file, in the operating system's usual place."""
    from platformdirs import user_state_path

    return user_state_path("miracle", appauthor=False) / "explorer.json"


@dataclass
class Session:
    """The state that is kept. If the file is missing, damaged or not ours, start afresh.

    Attributes:
        file: the session file; None saves nothing.
        theme: the theme's name, or "".
        recent: paths of the opened runs, the latest first.
        runs: each run's saved exploration.
    """

    file: Path | None
    theme: str = ""
    recent: list[str] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path | None) -> Session:
        """Read the session."""
        session = cls(file)
        try:
            value = json.loads(file.read_bytes()) if file else {}
        except (OSError, ValueError):
            return session
        if not isinstance(value, dict):
            return session
        if isinstance(value.get("theme"), str):
            session.theme = value["theme"]
        if isinstance(value.get("recent"), list):
            session.recent = [name for name in value["recent"] if isinstance(name, str)][:RECENT]
        if isinstance(value.get("runs"), dict):
            session.runs = {k: v for k, v in value["runs"].items() if isinstance(v, dict)}
        return session

    def save(self) -> None:
        """Write the session, whole or not at all. If the disk can't be written, it is not saved."""
        if self.file is None:
            return
        recent = [name for name in self.recent if _is_text(name)]
        kept = {name: self.runs[name] for name in recent if name in self.runs}
        try:
            write_json(self.file, {"theme": self.theme, "recent": recent, "runs": kept})
        except (MiracleError, OSError, TypeError):  # TypeError: a title that is not UTF-8
            return

    def opened(self, source: Source) -> None:
        """Move a run to the front of the recent runs."""
        name = str(real_path(source.run))
        self.recent = [name, *(other for other in self.recent if other != name)][:RECENT]

    def keep(self, source: Source, exploration: Exploration, recommender: Recommender) -> None:
        """Store a run's exploration. Items are stored by id, since indices depend on the data."""
        self.runs[str(real_path(source.run))] = {
            "data": _data(source),
            "history": [
                {
                    "item_id": None if e.item is None else recommender.item_id(e.item),
                    "title": e.title,
                    "on": e.on,
                }
                for e in exploration.history.entries
            ],
            "top_k": exploration.top_k,
            "seen": exploration.seen,
            "view": exploration.view,
        }

    def restore(self, source: Source, recommender: Recommender) -> tuple[Exploration, int]:
        """Restore a run's exploration; one that was made on other data is ignored.

        Returns:
            The exploration, and how many saved items are no longer in the catalogue.
        """
        saved = self.runs.get(str(real_path(source.run)), {})
        if saved.get("data") != _data(source):
            saved = {}
        entries: list[Entry] = []
        lost = 0
        history = saved.get("history")
        for kept in history if isinstance(history, list) else []:
            entry = _entry(kept, recommender)
            if entry is None:
                lost += 1
            else:
                entries.append(entry)
        exploration = Exploration(History(entries))
        if saved.get("top_k") in TOP_K:
            exploration.top_k = saved["top_k"]
        if saved.get("view") in VIEWS:
            exploration.view = saved["view"]
        exploration.of_run(recommender)
        if saved.get("seen") in exploration.rules:
            exploration.seen = saved["seen"]
        return exploration, lost


def _data(source: Source) -> str | None:
    return None if source.data is None else str(real_path(source.data))


def _is_text(name: str) -> bool:
    """Whether a path can be written to a JSON file: file names need not be UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entry(kept: Any, recommender: Recommender) -> Entry | None:
    if not isinstance(kept, dict):
        return None
    item_id, title, on = kept.get("item_id"), kept.get("title"), kept.get("on") is not False
    if item_id is None:
        return Entry(None, title, on) if isinstance(title, str) and title.strip() else None
    try:
        item = recommender.item(str(item_id))
    except InputError:
        return None
    return Entry(item, recommender.title(item), on)
