"""Fetch public data sets: resumable, hashed, and never half there.

A file is loaded into ``NAME.part`` beside its place and renamed when it is whole. A download that
was stopped goes on where it ended, if the server allows that and its file is the same.
"""

from __future__ import annotations

import hashlib
import http.client
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from miracle_core.errors import InputError, MiracleError
from miracle_core.files import read_json, write_json
from miracle_core.progress import SILENT, Progress, stage

_CHUNK = 1 << 20
_PATIENCE = 60  # seconds without a byte
_CATALOGUE = Path(__file__).with_name("public.toml")


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set, and the hash that its publisher states, if any."""

    url: str
    md5: str | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """What the file is called."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name.replace("+", "-")


@dataclass(frozen=True)
class PublicData:
    """A public data set.

    Attributes:
        name: what a person calls it.
        title: its full name.
        page: its publisher's page.
        licence: under what terms.
        citation: what to cite.
        format: what ``miracle preprocess --format`` calls its files.
        files: what to load.
    """

    name: str
    title: str
    page: str
    licence: str
    citation: str
    format: str
    files: tuple[RemoteFile, ...]


@cache
def catalogue() -> dict[str, PublicData]:
    """Every data set that can be loaded, by name."""
    found: dict[str, PublicData] = {}
    for name, entry in tomllib.loads(_CATALOGUE.read_text(encoding="utf-8")).items():
        domains: dict[str, str] = entry.pop("domains", {name: ""})
        for short, domain in domains.items():
            found[short] = _entry(short, domain, entry)
    return found


def _entry(name: str, domain: str, entry: dict[str, Any]) -> PublicData:
    files = tuple(
        RemoteFile(**{**file, "url": file["url"].replace("{domain}", domain)})
        for file in entry["files"]
    )
    title = entry["title"].replace("{domain}", domain.replace("_", " "))
    return PublicData(name, **{**entry, "title": title, "files": files})


def find(name: str) -> PublicData:
    """A data set by its name.

    Raises:
        InputError: there is none of that name.
    """
    known = catalogue()
    if name not in known:
        raise InputError(
            f"is not a data set this program knows (it knows: {', '.join(sorted(known))})",
            where=name,
            remedy="name one of them",
        )
    return known[name]


def download(data: PublicData, out: str | Path, progress: Progress = SILENT) -> list[Path]:
    """Load a data set's files into a folder; those that are there already are kept.

    Args:
        data: what to load.
        out: the folder.
        progress: hears of the bytes of each file.

    Returns:
        The files.

    Raises:
        MiracleError: a server that can't be reached, or a file that is not what its publisher says;
            with what to do by hand.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for file in data.files:
        path = out / file.name
        if not path.exists():
            _fetch(data, file, path, progress)
        paths.append(path)
    return paths


def _fetch(data: PublicData, file: RemoteFile, path: Path, progress: Progress) -> None:
    part, note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    had = part.stat().st_size if part.exists() else 0
    tag = read_json(note).get("tag") if had and note.exists() else None
    request = urllib.request.Request(file.url, headers={"User-Agent": "miracle-rec"})
    if had and tag:
        # The server sends the rest only if its file is still the same.
        request.add_header("Range", f"bytes={had}-")
        request.add_header("If-Range", tag)
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            goes_on = answer.status == 206
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            write_json(note, {"tag": None if (tag or "").startswith("W/") else tag})
            length = answer.headers.get("Content-Length")
            rest = int(length) if length and length.isdigit() else None
            loaded = 0
            with (
                stage(progress, f"loading {path.name}", rest, "bytes"),
                part.open("ab" if goes_on else "wb") as beside,
            ):
                while chunk := answer.read(_CHUNK):
                    beside.write(chunk)
                    loaded += len(chunk)
                    progress.advance(len(chunk))
        if rest is not None and loaded != rest:
            raise http.client.IncompleteRead(b"", rest - loaded)
    except (OSError, http.client.HTTPException, urllib.error.URLError) as error:
        raise MiracleError(
            f"{path.name} can't be loaded: {_reason(error)}",
            where=file.url,
            remedy=_by_hand(data, path, part),
        ) from error
    for kind, stated in (("md5", file.md5), ("sha256", file.sha256)):
        if stated and (found := _digest(part, kind)) != stated:
            part.unlink()
            note.unlink(missing_ok=True)
            raise MiracleError(
                f"{path.name} is not what its publisher says: its {kind} is {found}, not {stated}",
                where=file.url,
                remedy=f"try again; if it stays so, look at {data.page}",
            )
    part.replace(path)
    note.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection broke off, {error.expected} bytes before the end"
    return str(getattr(error, "reason", None) or error)


def _by_hand(data: PublicData, path: Path, part: Path) -> str:
    again = "run the same command again to go on" if part.exists() else "try again later"
    return (
        f"{again}; or open {data.page} in a browser, save the file as {path}, and read it with: "
        f"miracle preprocess {path.parent} --format {data.format} --out DIR"
    )


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
