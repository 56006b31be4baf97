"""Labels of the capsules, kept in the run folder from one command to the next.

    RUN/labels.json     {"key": what they depend on, "labels": [words of each capsule]}

An answer names its capsules, and finding their words needs a pass over the catalogue. A file that
is damaged or has another key counts as absent. It may be removed at any time.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from miracle_core.errors import MiracleError
from miracle_core.files import read_json, write_json

FILE = "labels.json"
# The version of the wording of labels. Raise it with each change of capsule_map.py, labels.py,
# folding.py or word_index.py that changes a label: older files then count as absent.
WORDING = 1


class KeptLabels:
    """The labels of one run.

    Args:
        run: the run folder.
        key: changes with the model, the catalogue and the settings. The file's key is this and
            :data:`WORDING`.
        n_capsules: how many there are.

    Attributes:
        labels: the labels, or None if the folder has none that fit.
    """

    def __init__(self, run: Path, key: str, n_capsules: int) -> None:
        self._path, self._key = run / FILE, f"{key} {WORDING}"
        self.labels = self._read(n_capsules)

    def _read(self, n_capsules: int) -> list[str] | None:
        """The labels in the file, or None."""
        if not self._path.is_file():
            return None
        try:
            found = read_json(self._path)
        except (OSError, MiracleError):
            return None
        if not isinstance(found, dict) or found.get("key") != self._key:
            return None
        labels = found.get("labels")
        if not isinstance(labels, list) or len(labels) != n_capsules:
            return None
        return labels if all(isinstance(label, str) for label in labels) else None

    def keep(self, labels: list[str]) -> None:
        """Write them if the folder can be written to; a failure only costs time later."""
        self.labels = labels
        with contextlib.suppress(OSError, MiracleError):
            write_json(self._path, {"key": self._key, "labels": labels})
