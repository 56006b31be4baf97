"""The separators between the fields of a file, and the errors of a wrong guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from miracle_core.data.readers.lines import Layout
from miracle_core.data.readers.opening import MARK, RawFile, line_blocks
from miracle_core.data.readers.quotes import quoting
from miracle_core.errors import InputError

# Separators, what they are called in a message, and what --separator calls them.
_KNOWN = {
    ",": ("commas", '","'),
    ";": ("semicolons", '";"'),
    "\t": ("tabs", "tab"),
    "|": ("bars", '"|"'),
    " ": ("spaces", "space"),
}
_WORDS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "bar": "|"}
_CSV = (",", ";")  # what is separated by these is quoted as CSV is
_LONGEST = 1 << 20


def separator_named(text: str) -> str:
    """The separator that an option names: itself, or a word such as ``tab``.

    Raises:
        InputError: nothing that could stand between fields.
    """
    found = _WORDS.get(text.lower(), text)
    if not found or len(found) > 4 or re.search(r'[\w"\r\n\x1f]', found):
        raise InputError(
            f"{text!r} is not a separator of fields",
            where="--separator",
            remedy='name a character, such as ";", or one of: tab, space, comma, semicolon, bar',
        )
    return found


def layout_of(raw: RawFile, usual: Layout, asked: str | None = None) -> Layout:
    """How a file is written.

    Args:
        raw: the file.
        usual: how files of its kind are written.
        asked: the separator a person named. A file whose first line doesn't hold it is read as
            usual: two files may have different ones.

    Raises:
        InputError: a first line ``sep=;`` that names a separator which is not the one in use, or a
            file that can't be read.
    """
    with raw.open() as file:
        first = file.readline(_LONGEST).removeprefix(MARK)
        named = re.fullmatch(rb'"?sep=([^\r\n])"?\r*\n?', first, re.IGNORECASE)
        if named:
            first = file.readline(_LONGEST)
    layout = replace(usual, skip=1) if named else usual
    separator = separator_named(asked) if asked is not None else None
    if separator is not None and separator in first.decode(usual.encoding, "replace"):
        if separator != usual.separator:
            layout = replace(layout, separator=separator, quoted=separator in _CSV)
    elif named and named[1].decode("latin-1") != usual.separator:
        said = named[1].decode("latin-1")
        raise InputError(
            f"its first line says that fields are separated by {_name(said)}, "
            f"not by {_name(usual.separator)}",
            where=f"{raw}:1",
            remedy=f"add --separator {_option(said)}",
        )
    return layout


def quoted_or_not(raw: RawFile, layout: Layout) -> tuple[Layout, bool]:
    """Whether quotes in a file that is not CSV mean what they mean in CSV.

    Where tabs or bars separate fields, most writers quote nothing, and some quote as CSV is quoted.
    Quotes that pair up in every line are taken as quoting; otherwise all of them are ordinary
    characters.

    Returns:
        The layout, and whether there are quotes that are ordinary characters.

    Raises:
        InputError: a file that can't be read.
    """
    if layout.quoted or len(layout.separator.encode()) > 1:
        return layout, False
    rules = quoting(layout.separator)
    with raw.open() as file:
        for _, block in line_blocks(raw, file):
            if b'"' in block and not rules.sound(block.decode(layout.encoding, "replace")):
                return layout, True
    return replace(layout, quoted=True), False


def other_separator(names: Sequence[str], wanted: str | None = None) -> str | None:
    """A separator that splits a header into more columns than it was split into.

    Args:
        names: the columns as they were split.
        wanted: a column that must come of it; None where the header is a single column.
    """
    for separator in _KNOWN:
        # The names of several columns may hold spaces.
        if separator == " " and len(names) > 1:
            continue
        parts = [part for name in names for part in name.split(separator)]
        # Without quotes, and without the type that an atomic file gives its columns.
        parts = [part.strip().strip('"').partition(":")[0] for part in parts]
        more = len(parts) > len(names)
        if more and (wanted in parts or (wanted is None and len(names) == 1)):
            return separator
    return None


def refuse_wrong_separator(names: Sequence[str], wanted: str, place: str) -> None:
    """Refuse a header that another separator splits, where a column is missing.

    Raises:
        InputError: naming the other separator.
    """
    if wanted in names:
        return
    separator = other_separator(names, wanted)
    # A single column with spaces in its name may be just that.
    if separator is None and len(names) == 1 and (other := other_separator(names)) != " ":
        separator = other
    if separator is not None:
        whole = next(name for name in names if separator in name)
        raise InputError(
            f"its fields seem to be separated by {_name(separator)}: {whole!r} is one column "
            "as it was read",
            where=place,
            remedy=f"add --separator {_option(separator)}",
        )


def _name(separator: str) -> str:
    return _KNOWN[separator][0] if separator in _KNOWN else repr(separator)


def _option(separator: str) -> str:
    return _KNOWN[separator][1] if separator in _KNOWN else repr(separator)
