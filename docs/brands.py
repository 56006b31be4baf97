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


def main() -> None:
    """The whole folder, with the column."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    with replacing_folder(asked.out) as beside:
        for path in sorted(asked.raw.iterdir()):
            if path.suffix != ".text":
                shutil.copy(path, beside / path.name)
                continue
            lines = path.read_text(encoding="utf-8").splitlines()
            found = "\n".join(branded(lines, str(path))) + "\n"
            (beside / path.name).write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
