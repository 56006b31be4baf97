"""Files that are not UTF-8 text, recognised by their first bytes."""

from __future__ import annotations

from miracle_core.data.readers.opening import RawFile
from miracle_core.errors import InputError

_LEAST = 4  # bytes: less is too little to tell by
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


# What files of other kinds begin with, what they are, and what to do with them.
_KINDS = (
    (b"PAR1", "a Parquet file", "give it a name that ends in .parquet"),
    (b"\xd0\xcf\x11\xe0", "a workbook of old Excel (.xls)", "save it as .xlsx, or as CSV in UTF-8"),
    (b"BZh", "packed with bzip2", "unpack it: bunzip2 FILE"),
    (b"\xfd7zXZ", "packed with xz", "unpack it: unxz FILE"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"%PDF", "a PDF", "name the file with the data"),
    (b"\x89PNG", "a picture", "name the file with the data"),
    (b"SQLite format 3", "an SQLite database", "write the table as CSV in UTF-8"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file it points to",
        "get the file: git lfs pull",
    ),
    (b"<!doctype html", "a web page", "get the file again: the page may say why there is none"),
    (b"<html", "a web page", "get the file again: the page may say why there is none"),
)


def refuse_other_kinds(raw: RawFile, beginning: bytes) -> None:
    """Refuse a file that is no text, or text that is no data.

    Args:
        raw: the file.
        beginning: its first bytes, 64 or so.

    Raises:
        InputError: saying what it is.
    """
    start = beginning.lstrip()
    for sign, kind, remedy in _KINDS:
        if beginning.startswith(sign) or (sign[:1] == b"<" and start.lower().startswith(sign)):
            raise InputError(f"is {kind}", where=str(raw), remedy=remedy)
    refuse_utf16(raw, beginning)


def refuse_utf16(raw: RawFile, beginning: bytes) -> None:
    """Refuse a file in UTF-16 (as Excel's "Unicode text" is) or UTF-32.

    Args:
        raw: the file.
        beginning: its first bytes, 64 or so.

    Raises:
        InputError: with the command that makes UTF-8 of it.
    """
    if len(beginning) < _LEAST:
        return
    encoding = next((name for mark, name in _MARKS if beginning.startswith(mark)), "")
    if not encoding:
        # Without a mark: of plain letters in UTF-16 every other byte is zero.
        even, odd = beginning[::2], beginning[1::2]
        for order, zeros, others in (("le", odd, even), ("be", even, odd)):
            if not any(zeros) and all(others):
                encoding = f"utf-16{order}"
    if encoding:
        raise InputError(
            f"is {encoding.upper()}, not UTF-8",
            where=f"{raw}:1:1",
            remedy=f"save it as UTF-8, e.g. iconv -f {encoding} -t utf-8 OLD > NEW",
        )
