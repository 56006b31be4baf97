"""Raw files as they come: plain, gzip, zstd, or inside a zip archive.

The first bytes of a file say how it is packed, never its name. Nothing is ever unpacked to disk, so
a name inside an archive can't point anywhere. A file that unpacks to far more than any real data
does is refused while it is read.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

import pyarrow as pa

from miracle_core.errors import InputError
from miracle_core.paths import as_path

Packing = Literal["", "gzip", "zstd", "zip"]

_MAGIC: dict[bytes, Packing] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_PACKED_NAMES = (".gz", ".zst", ".zstd")
# Text of this kind packs 3 to 30 times smaller. Checked from the free amount on.
_MAX_RATIO = 200
_FREE = 32 << 20
_MAX_MEMBERS = 10_000
_BUFFER = 1 << 20
_LINES = 16 << 20  # bytes of whole lines read at a time
_LONGEST = 64 << 20  # bytes of one line
MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark


@dataclass(frozen=True)
class RawFile:
    """A file to read, whatever it is packed in.

    Attributes:
        path: the file on disk.
        packing: what it is packed with.
        member: the name inside a zip archive.
        named: the person named it; False where it was found in a folder or an archive.
    """

    path: Path
    packing: Packing = ""
    member: str | None = None
    named: bool = True

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The file's name without folders and without the ending of a packing.

        That ending means nothing: a browser may have unpacked the file and kept its name.
        """
        name = PurePosixPath(self.member).name if self.member else self.path.name
        for ending in _PACKED_NAMES:
            name = name.removesuffix(ending)
        return name

    @property
    def suffix(self) -> str:
        """The last ending of :attr:`name`, in small letters."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def stem(self) -> str:
        """:attr:`name` without its last ending."""
        return PurePosixPath(self.name).stem

    @property
    def plain(self) -> bool:
        """Whether the bytes on disk are the bytes to read."""
        return not self.packing

    def open(self) -> BinaryIO:
        """Open for reading, unpacked; whatever goes wrong in there becomes an InputError.

        Raises:
            InputError: no such file, or one that can't be read.
        """
        try:
            if self.plain:
                return self.path.open("rb", buffering=_BUFFER)
            stream = self._unpack()
        except FileNotFoundError as error:
            raise InputError(
                "does not exist", where=str(self), remedy="check the spelling of the path"
            ) from error
        except (OSError, *DAMAGE) as error:
            raise self._damaged(error) from error
        return guarded(self, stream, self._packed_size())

    def read(self) -> bytes:
        """All of it.

        Raises:
            InputError: as :meth:`open`, or a file that is damaged.
        """
        with self.open() as file:
            return file.read()

    def _unpack(self) -> BinaryIO:
        if self.packing == "zip":
            return cast(BinaryIO, zipfile.ZipFile(self.path).open(self.member or ""))
        return cast(BinaryIO, pa.CompressedInputStream(pa.OSFile(str(self.path)), self.packing))

    def _packed_size(self) -> int:
        if self.packing == "zip":
            with zipfile.ZipFile(self.path) as archive:
                # The archive's own word is not trusted beyond the archive's size.
                said = archive.getinfo(self.member or "").compress_size
            return min(said, self.path.stat().st_size)
        return self.path.stat().st_size

    def _damaged(self, error: Exception) -> InputError:
        said = " ".join(str(error).split()) or type(error).__name__
        return InputError(
            f"can't be unpacked, it is damaged or cut off: {said}"
            if self.packing
            else f"can't be read: {getattr(error, 'strerror', None) or said}",
            where=str(self),
            remedy="get the file again, or name one that you may read",
        )


# What zipfile and its decoders raise for archives that are broken, encrypted or of an odd kind.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    pa.ArrowException,
)


class _Guarded(io.RawIOBase):
    """An unpacking stream that raises InputErrors and is read no further than its limit.

    Args:
        raw: the file, for messages.
        stream: where unpacked bytes come from.
        packed: how many bytes there are before unpacking.
    """

    def __init__(self, raw: RawFile, stream: BinaryIO, packed: int) -> None:
        self._raw, self._stream = raw, stream
        self._limit = max(_FREE, packed * _MAX_RATIO)
        self._count = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Unpacked bytes, as many as there are at once."""
        view = memoryview(buffer)
        try:
            data = self._stream.read(len(view))
        except InputError:
            raise
        except (OSError, *DAMAGE) as error:
            raise self._raw._damaged(error) from error
        self._count += len(data)
        if self._count > self._limit:
            raise InputError(
                f"unpacks to more than {_MAX_RATIO} times its size: it is not read any further",
                where=str(self._raw),
                remedy="unpack it yourself if you trust it, and name the unpacked file",
            )
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close what is underneath, too."""
        if not self.closed:
            self._stream.close()
        super().close()


def guarded(raw: RawFile, stream: Any, packed: int) -> BinaryIO:
    """An unpacking stream that stops where it has become larger than any real data.

    Args:
        raw: the file, for messages.
        stream: where unpacked bytes come from.
        packed: how many bytes there are before unpacking.
    """
    return cast(BinaryIO, io.BufferedReader(_Guarded(raw, stream, packed), _BUFFER))


def line_blocks(raw: RawFile, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Whole lines, about 16 MiB at a time, each block with the number of its first line.

    A byte order mark is left out, and the last line gets its end where that is missing.

    Raises:
        InputError: a line longer than 64 MiB, or as :meth:`RawFile.open`.
    """
    number, rest = 1, b""
    first = True
    while True:
        data = file.read(_LINES)
        block = rest + (data.removeprefix(MARK) if first else data)
        first = False
        if data:
            end = block.rfind(b"\n") + 1
            block, rest = block[:end], block[end:]
            if len(rest) > _LONGEST:
                longest = number + block.count(b"\n")
                raise InputError(
                    f"holds a line of more than {_LONGEST >> 20} MiB",
                    where=f"{raw}:{longest}",
                    remedy="fix or remove it",
                )
        elif block and not block.endswith(b"\n"):
            block += b"\n"
        if block:
            yield number, block
            number += block.count(b"\n")
        if not data:
            return


def native(data: bytes) -> pa.BufferReader:
    """Bytes copied into memory of Arrow's own, to read from.

    A thread of Arrow that still held a Python object when the interpreter ends would abort the
    process; such threads may outlive the call that an error ended.
    """
    buffer = pa.allocate_buffer(len(data))
    if data:  # a view of nothing can't be cast
        memoryview(buffer).cast("B")[:] = data
    return pa.BufferReader(buffer)


def expand(paths: Sequence[Path]) -> list[RawFile]:
    """The files that paths stand for: themselves, a folder's files, a zip archive's members.

    Files of a folder and members of an archive come in the order of their names; hidden ones are
    left out. A workbook (``.xlsx``) is an archive too, but stays one file.

    Raises:
        InputError: a path that doesn't exist or is named twice, or an archive that is damaged or
            holds a name outside itself.
    """
    found: list[RawFile] = []
    seen: set[Path] = set()
    for path in paths:
        try:
            real = path.resolve()
            exists, folder = path.exists(), path.is_dir()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"is not a valid path: {error}", where=str(path)) from error
        if real in seen:
            raise InputError("is named twice", where=str(path), remedy="name every source once")
        seen.add(real)
        if not exists:
            raise InputError(
                "does not exist", where=str(path), remedy="check the spelling of the path"
            )
        if folder:
            children = sorted(path.iterdir(), key=lambda child: child.name)
            for child in children:
                if child.is_file() and not child.name.startswith("."):
                    as_path(child)  # refuses a name that no manifest could hold
                    found += _opened(child, named=False)
        else:
            found += _opened(path, named=True)
    return found


def _opened(path: Path, *, named: bool) -> list[RawFile]:
    try:
        if not path.is_file():
            raise InputError("is not a file", where=str(path), remedy="name a file or a folder")
        with path.open("rb") as file:
            first = file.read(4)
    except OSError as error:
        raise InputError(
            f"can't be read: {error.strerror or error}",
            where=str(path),
            remedy="name a file that you may read",
        ) from error
    packing = next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), "")
    if packing == "zip":
        return _members(path, named)
    return [RawFile(path, cast(Packing, packing), named=named)]


def _members(path: Path, named: bool) -> list[RawFile]:
    whole = RawFile(path, "zip", named=named)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, *DAMAGE) as error:
        raise whole._damaged(error) from error
    if len(members) > _MAX_MEMBERS:
        raise InputError(
            f"holds {len(members)} files, more than {_MAX_MEMBERS}",
            where=str(path),
            remedy="unpack it and name the files to read",
        )
    names = [member.filename for member in members]
    if "[Content_Types].xml" in names:  # a workbook
        return [RawFile(path, named=named)]
    found = []
    for name in sorted(names):
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if name.startswith(("/", "\\")) or ".." in parts or ":" in name.split("/")[0]:
            raise InputError(
                f"holds a file with a name outside the archive: {name!r}",
                where=str(path),
                remedy="don't trust it; get the archive from its publisher",
            )
        if not name.endswith("/") and not any(part.startswith((".", "__MACOSX")) for part in parts):
            found.append(RawFile(path, "zip", name, named=False))
    if len({raw.member for raw in found}) != len(found):
        raise InputError(
            "holds two files of the same name",
            where=str(path),
            remedy="unpack it and name the file to read",
        )
    if not found:
        raise InputError("is an empty archive", where=str(path), remedy="name one with files in it")
    return found
