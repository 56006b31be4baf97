"""Text of items made fit to read: no HTML, no control characters, one space at a time."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

import polars as pl

# Known tags only: "<M>" in a title is a size, not markup.
_TAGS = (
    r"(?i)<!--.*?-->|</?(?:a|abbr|article|b|big|blockquote|br|center|code|dd|div|dl|dt|em|font|"
    r"h[1-6]|hr|i|img|li|ol|p|pre|s|section|small|span|strike|strong|sub|sup|table|tbody|td|th|"
    r"thead|tr|tt|u|ul)(?:\s[^<>]*)?/?>|/>"  # and the end of a tag whose beginning was lost
)
# Whole terminal sequences (colours, cursor moves, window titles), not only their first byte.
_TERMINAL = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]"
_CONTROL = r"[\p{Cc}\p{Zl}\p{Zp}]"
# Invisible marks, text direction overrides among them; the two joiners shape real scripts.
_INVISIBLE = r"[\p{Cf}&&[^\x{200c}\x{200d}]]"

_MIN_SHARE = 0.01  # of the items: a phrase that opens so many category fields is no accident


def clean_text(texts: pl.Series) -> pl.Series:
    """Texts without HTML entities and tags, control characters and runs of white space.

    Args:
        texts: String [n]; null is read as empty.

    Returns:
        String [n] without nulls.
    """
    column = pl.col(texts.name)
    frame = pl.DataFrame([texts.fill_null("")])
    has_entity = frame[texts.name].str.contains(r"&#?\w+;")
    if has_entity.any():
        found = frame.filter(has_entity)[texts.name].unique(maintain_order=True)
        # Twice: shops often escape what was escaped already.
        plain = [html.unescape(html.unescape(text)) for text in found]
        frame = frame.with_columns(column.replace(found, pl.Series(plain, dtype=pl.String)))
    cleaned = (
        column.str.replace_all(_TAGS, " ")
        .str.replace_all(_TERMINAL, "")
        .str.replace_all(_CONTROL, " ")
        .str.replace_all(_INVISIBLE, "")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
    )
    return frame.select(cleaned).to_series()


def join_texts(columns: Sequence[pl.Series], name: str) -> pl.Series:
    """One text from several clean columns: the parts that are not empty, as sentences.

    Returns:
        String [n] named ``name``: ``"TITLE. CATEGORIES. BRAND"``.
    """
    frame = pl.DataFrame([column.alias(str(i)) for i, column in enumerate(columns)])
    parts = [
        pl.when(pl.col(str(i)) != "").then(
            pl.col(str(i)).str.strip_chars_end(" .") if i + 1 < len(columns) else pl.col(str(i))
        )
        for i in range(len(columns))
    ]
    return frame.select(pl.concat_str(parts, separator=". ", ignore_nulls=True).alias(name))[name]


def titles_of(texts: pl.Series) -> pl.Series:
    """A title for each text: its first sentence, or all of it where there is only one.

    Texts of the form ``TITLE. CATEGORIES. BRAND.`` are common, and a title may hold a full stop
    itself (``6.4 oz. can``). So where the categories begin is learned from all texts together: the
    two words that open the last but one sentence of many texts (the root of the category tree,
    ``Industrial & ...``), or an empty sentence (``. .``: no categories). Any other text ends its
    title at the first full stop that follows a long word, a number or a bracket and precedes no
    small letter. A title that is nothing but the beginning of what follows it (the root of the
    category tree once more: some shops' pages were read wrongly) gives way to what follows.

    Args:
        texts: String [n], clean.

    Returns:
        String [n] named ``title``.
    """
    frame = pl.DataFrame([texts.alias("text")]).with_columns(
        pl.col("text").str.strip_chars_end(" .").str.split(". ").alias("parts")
    )
    opening = (
        frame.filter(pl.col("parts").list.len() >= 3)
        .select(pl.col("parts").list.get(-2).str.extract(r"^(\S+ \S+)").alias("opening"))
        .drop_nulls()["opening"]
        .value_counts()
        .filter(pl.col("count") >= max(1.0, _MIN_SHARE * len(texts)))
        .sort("opening")["opening"]
    )
    marks = "|".join([r"\.(?: |$)", *(re.escape(text) + r"(?:\s|\.)" for text in opening)])
    text, title = pl.col("text"), pl.col("title")
    first = pl.coalesce(
        text.str.extract(rf"^(.*?\S)\s*\.+ (?:{marks})"),
        text.str.extract(r"""^(.*?(?:[\p{L}]{4}|\d|[)\]"'%!?]))\. [^\p{Ll}\s.]"""),
        text,
    )
    rest = text.str.strip_prefix(title).str.strip_chars_start(" .")
    repeats = (title != text) & rest.str.starts_with(title)
    trimmed = title.str.strip_chars_end(" .,;-|")
    return (
        frame.select(text, first.alias("title"))
        .with_columns(pl.when(repeats).then(rest).otherwise(title).alias("title"))
        # A text of nothing but such signs is its own title.
        .select(pl.when(trimmed == "").then(text).otherwise(trimmed).alias("title"))
    )["title"]
