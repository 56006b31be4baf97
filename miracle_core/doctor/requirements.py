"""What the project asks for: its dependencies and extras, as pyproject.toml or the wheel says."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

NAME = "miracle-rec"
# Extras that change what the program can do; ``dev`` and ``docs`` are for those who work on it.
EXTRAS = {
    "minilm": "text vectors of all-MiniLM-L6-v2, without a network",
    "faiss": "miracle index, and recommend --index",
    "onnx": "miracle export --to onnx",
    "tune": "miracle tune",
}
# Where the module has another name than the distribution.
_MODULES = {"scikit-learn": "sklearn", "faiss-cpu": "faiss"}


@dataclass(frozen=True)
class Wanted:
    """A library that is asked for.

    Attributes:
        name: the distribution, as pip calls it.
        range: which versions will do, such as ``>=2.5``.
        extra: the extra that asks for it; None if everybody needs it.
    """

    name: str
    range: str
    extra: str | None

    @property
    def module(self) -> str:
        """What is imported."""
        return _MODULES.get(self.name, self.name.replace("-", "_"))

    @property
    def pip(self) -> str:
        """The argument for ``pip install``."""
        return f"'{self.name}{self.range}'"


def wanted() -> list[Wanted]:
    """All requirements of the project, except the extras ``dev`` and ``docs``.

    In a checkout pyproject.toml is read: the metadata of an editable install may be older.

    Raises:
        PackageNotFoundError: the code lies somewhere without either of them.
    """
    project = _checkout()
    if project is None:
        lines = metadata.requires(NAME) or []
        return [_of_metadata(line) for line in lines if _extra(line)[1]]
    groups: dict[str | None, list[str]] = {
        None: project["dependencies"],
        **project["optional-dependencies"],
    }
    return [
        Wanted(*_split(text), extra)
        for extra, texts in groups.items()
        if extra is None or extra in EXTRAS
        for text in texts
    ]


def _checkout() -> dict[str, Any] | None:
    """The table ``project`` of the pyproject.toml beside the code, if it is this project's."""
    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    try:
        project: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return None
    return project if project.get("name") == NAME else None


def _extra(line: str) -> tuple[str | None, bool]:
    """The extra of a line of metadata, and whether this page tells of it."""
    found = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
    extra = found.group(1) if found else None
    return extra, extra is None or extra in EXTRAS


def _of_metadata(line: str) -> Wanted:
    return Wanted(*_split(line.partition(";")[0]), _extra(line)[0])


def _split(text: str) -> tuple[str, str]:
    """``torch>=2.5`` as its name and its range."""
    found = re.match(r"\s*([A-Za-z0-9._-]+)\s*(.*?)\s*$", text)
    assert found is not None
    return found.group(1), found.group(2)


def fits(version: str, range_: str) -> bool | None:
    """Whether a version is in a range; None where the library that knows is missing."""
    try:
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(range_).contains(version, prereleases=True)
    except Exception:  # a damaged library may fail in any way
        return None
