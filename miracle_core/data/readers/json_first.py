"""What a file of JSON lines holds, found in its first lines, or why they hold no object."""

from __future__ import annotations

from typing import Any

from miracle_core.data.readers.encodings import refuse_utf16
from miracle_core.data.readers.json_lines import REMEDY, BadLineError, parse_line
from miracle_core.data.readers.literal import is_literal
from miracle_core.data.readers.opening import MARK, RawFile
from miracle_core.errors import InputError

_LOOK = 100  # lines
_LONGEST = 16 << 20  # bytes of one of them


def first_objects(raw: RawFile) -> list[dict[str, Any]]:
    """The objects among the first hundred lines, in JSON or as Python literals.

    A broken line among them is passed over: reading the file tells of it.

    Raises:
        InputError: a file that can't be read.
    """
    found = []
    for line in _first_lines(raw):
        try:
            found.append(parse_line(line, is_literal(line)))
        except BadLineError:
            continue
    return found


def no_objects(raw: RawFile) -> InputError | None:
    """Why a file that begins as JSON does has no object in its first lines.

    Returns:
        What to raise; None for a file that doesn't begin as JSON or has objects.

    Raises:
        InputError: a file that can't be read, or is UTF-16.
    """
    lines = _first_lines(raw)
    first = lines[0].strip() if lines else b""
    refuse_utf16(raw, first[:64])
    if first.startswith(b"["):
        return InputError(
            "is one JSON array, not an object a line",
            where=f"{raw}:1",
            remedy="write one object a line, e.g. jq -c '.[]' OLD > NEW",
        )
    if not first.startswith(b"{") or first_objects(raw):
        return None
    if first == b"{" or (len(lines) > 1 and not first.endswith(b"}")):
        return InputError(
            "holds objects that span lines, not an object a line",
            where=f"{raw}:1",
            remedy="write one object a line, e.g. jq -c . OLD > NEW",
        )
    try:
        parse_line(lines[0], is_literal(lines[0]))
    except BadLineError as error:
        return InputError(str(error), where=f"{raw}:1", remedy=REMEDY)
    return None


def _first_lines(raw: RawFile) -> list[bytes]:
    """Those of the first hundred lines that are not blank."""
    found = []
    with raw.open() as file:
        for number in range(_LOOK):
            line = file.readline(_LONGEST)
            if not line:
                break
            line = line.removeprefix(MARK) if number == 0 else line
            if line.strip():
                found.append(line)
    return found
