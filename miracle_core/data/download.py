"""Download public data sets: resumable, checked by hashes, each file whole or not at all.

A file is loaded into ``NAME.part`` beside its place and renamed when it is whole. A download that
was stopped goes on where it ended, if the server allows that and its file has not changed.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from miracle_core.disk import free, full, is_full
from miracle_core.errors import InputError, MiracleError, command
from miracle_core.files import read_json, remove_leftovers, sync, sync_folder, write_json
from miracle_core.locks import one_writer
from miracle_core.paths import as_path
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
        name: its short name in this program.
        title: its full name.
        page: its publisher's page.
        licence: its terms.
        citation: what to cite.
        format: the name of its format for ``miracle preprocess --format``.
        files: the files to load.
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
        progress: shows the bytes of each file.

    Returns:
        The files.

    Raises:
        InputError: another process is loading the same file to the same place.
        MiracleError: a server that can't be reached, a full disk, or a file whose hash is not the
            publisher's; the remedy says what to do by hand.
    """
    out = as_path(out)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for file in data.files:
        path = out / file.name
        with one_writer(path):
            if not path.exists():
                _fetch(data, file, path, progress)
            # The note is removed last, since a kill may have left it behind.
            _note(path).unlink(missing_ok=True)
            remove_leftovers(out, _note(path).name)
        paths.append(path)
    return paths


def _fetch(data: PublicData, file: RemoteFile, path: Path, progress: Progress) -> None:
    part, note = path.with_name(f"{path.name}.part"), _note(path)
    try:
        try:
            _load(file, part, note, progress)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # there is nothing after the bytes that are here
                raise
            if not _complete(part, error, file):
                _start_again(part, note)
                _load(file, part, note, progress)
    except (OSError, http.client.HTTPException) as error:
        if is_full(error):
            raise full(part, part.stat().st_size if part.exists() else 0) from error
        raise MiracleError(
            f"{path.name} can't be loaded: {_reason(error)}",
            where=file.url,
            remedy=_by_hand(data, path, part),
        ) from error
    for kind, stated in (("md5", file.md5), ("sha256", file.sha256)):
        if stated and (found := _digest(part, kind)) != stated:
            _start_again(part, note)
            raise MiracleError(
                f"{path.name} is not what its publisher says: its {kind} is {found}, not {stated}",
                where=file.url,
                remedy=f"try again; if it stays so, look at {data.page}",
            )
    sync(part)
    part.replace(path)
    sync_folder(path.parent)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.json")


def _load(file: RemoteFile, part: Path, note: Path, progress: Progress) -> None:
    """Load a file, or what is missing of it, to the end of ``part``.

    ``note`` records which version of the server's file ``part`` belongs to.
    """
    had = part.stat().st_size if part.exists() else 0
    tag = read_json(note).get("tag") if had and note.exists() else None
    request = urllib.request.Request(file.url, headers={"User-Agent": "miracle-rec"})
    if had and tag:
        # The server sends the rest only if its file is still the same.
        request.add_header("Range", f"bytes={had}-")
        request.add_header("If-Range", tag)
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        if answer.status != 206 or not _starts_at(answer.headers.get("Content-Range"), had):
            if answer.status == 206:
                raise http.client.HTTPException("the server sends another part than was asked for")
            # Removed first, so that a kill never leaves old bytes beside the new version's note.
            _start_again(part, note)
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        write_json(note, {"tag": None if (tag or "").startswith("W/") else tag})
        length = answer.headers.get("Content-Length")
        rest = int(length) if length and length.isdigit() else None
        room = free(part)
        if rest is not None and room is not None and room < rest:
            raise full(part, 0, rest)
        loaded = 0
        with stage(progress, f"loading {part.stem}", rest, "bytes"), part.open("ab") as beside:
            while chunk := answer.read(_CHUNK):
                beside.write(chunk)
                loaded += len(chunk)
                progress.advance(len(chunk))
    if rest is not None and loaded != rest:
        raise http.client.IncompleteRead(b"", rest - loaded)


def _starts_at(content_range: str | None, place: int) -> bool:
    """Whether a part of a file begins where it should; a server need not say."""
    begins = re.match(r"bytes (\d+)-", content_range or "")
    return begins is None or int(begins[1]) == place


def _complete(part: Path, error: urllib.error.HTTPError, file: RemoteFile) -> bool:
    """Whether ``part`` is the whole file, after the server said that no bytes follow.

    If the server states the length, it must be the same. Otherwise a hash that the publisher states
    will be checked later; without one, ``part`` does not count as whole.
    """
    total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range") or "")
    if total is None:
        return bool(file.md5 or file.sha256)
    return int(total[1]) == part.stat().st_size


def _start_again(part: Path, note: Path) -> None:
    part.unlink(missing_ok=True)
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
        + command("miracle", "preprocess", path.parent, "--format", data.format, "--out", "DIR")
    )


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
