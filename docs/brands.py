"""Give each item of a published split the brand that ends its text as an attribute.

    python docs/brands.py raw/scientific raw/scientific-brands
    miracle preprocess raw/scientific-brands --format atomic --encoder minilm --out data/branded

The texts of such splits are title, categories and brand, each ended by a full stop. What stands
after the last one but the final is taken for the brand. It is noisy: an item without a brand gives
the end of its categories or title, and makers are spelt in more ways than one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from miracle_core.errors import InputError
from miracle_core.files import replacing_folder

HEADER = ["item_id:token", "text:token_seq"]


def brand(text: str) -> str:
    """What ends a text; nothing where it is all one sentence."""
    _, stop, last = text.strip().removesuffix(".").rpartition(". ")
    return last.strip() if stop else ""


def branded(lines: list[str], where: str) -> list[str]:
    """The lines of a NAME.text with a column more.

    Raises:
        InputError: it has other columns.
    """
    rows = [line.split("\t") for line in lines]
    if rows[0] != HEADER:
        raise InputError(f"has other columns than {' and '.join(HEADER)}", where=where)
    return [
        "\t".join([*HEADER, "brand:token"]),
        *("\t".join([item, text, brand(text)]) for item, text in rows[1:]),
    ]


def write_branded(raw: Path, out: Path) -> None:
    """The whole folder, its NAME.text with the column.

    Raises:
        InputError: the folder or a file of it is not what it should be.
    """
    with replacing_folder(out) as beside:
        for path in sorted(raw.iterdir()):
            if path.suffix != ".text":
                shutil.copy(path, beside / path.name)
                continue
            lines = path.read_text(encoding="utf-8").split("\n")
            found = "\n".join(branded(lines[:-1], str(path))) + "\n"
            (beside / path.name).write_text(found, encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    try:
        write_branded(asked.raw, asked.out)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
