"""Which bytes are not the text we read, told by a file's beginning."""

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
