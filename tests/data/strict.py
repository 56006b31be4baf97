"""An independent, strict reader of delimited text: Python's csv module, applied line by line.

It does not support quoted fields that span lines. It only serves to check that a line which is a
row by itself is never lost without a message.
"""

from __future__ import annotations

import csv

PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
# Layouts of interaction files: separator, whether quotes have meaning, whether there is a header.
LAYOUTS = {
    "shop.csv": (",", True, True),
    "shop.tsv": ("\t", False, True),
    "T.inter": ("\t", False, True),
    "T.csv": (",", False, False),
    "u.data": ("\t", False, False),
    "ratings.dat": ("::", False, False),
    "ratings.csv": (",", True, True),
    "retail.csv": (",", True, True),
}


def fields_of(line: str, separator: str, quoted: bool) -> list[str] | None:
    """The fields of a single line, or None if it is not a row."""
    if not quoted:
        return None if "\r" in line else line.split(separator)
    try:
        (row,) = csv.reader([line], delimiter=separator, strict=True)
    except (csv.Error, ValueError):
        return None
    return row


def lines_alone(name: str, content: bytes) -> list[list[str]]:
    """Every line of an interaction file that is a row by itself, without the header."""
    separator, quoted, header = LAYOUTS[name]
    if content.startswith(PACKED):
        return []
    rows = []
    for raw in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        try:
            line = raw.decode().rstrip("\r")
        except UnicodeDecodeError:
            continue
        if line and (row := fields_of(line, separator, quoted)) is not None:
            rows.append(row)
    count = len(rows[0]) if header and rows else 4
    found = [row for row in rows if len(row) == count]
    return found[1:] if header else found
