"""Titles as a search compares them: case, accents, width and spacing don't matter."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

# A number, a sign of a script written without spaces, or a run of other letters: "DS1054Z" is
# three words, so that "DS1054", "1.75 mm" and "1.75mm" all find what they mean.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"\p{{N}}+(?:[.,]\p{{N}}+)*|[{_UNSPACED}]|[\p{{L}}\p{{M}}--[{_UNSPACED}]]+"


def fold(titles: Sequence[str]) -> pl.Series:
    """Lower case, compatibility forms unified, accents and invisible characters dropped.

    Args:
        titles: any texts.

    Returns:
        As many strings, with single spaces between words and none around.
    """
    series = pl.Series("title", titles, dtype=pl.String)
    return (
        series.str.normalize("NFKD")
        .str.replace_all(r"[\p{Mn}\p{Cf}]+", "")
        .str.to_lowercase()
        # A half-typed word may end in a final sigma that is none in the whole word.
        .str.replace_all("\u03c2", "\u03c3", literal=True)
        .str.replace_all(r"[\s\p{Cc}]+", " ")
        .str.strip_chars()
    )


def words(folded: pl.Series) -> pl.Series:
    """The words of folded titles, a list of strings each, in their order."""
    return folded.str.extract_all(_WORD)


def folded_words(text: str) -> list[str]:
    """The words of one text, folded."""
    found: list[str] = words(fold([text]))[0].to_list()
    return found
