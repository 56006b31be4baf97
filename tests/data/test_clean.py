"""Text of items: cleaning and titles."""

from __future__ import annotations

import polars as pl
import pytest

from miracle_core.data.readers.clean import clean_text, join_texts, titles_of


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Phantasy Star, Episode I &amp; II", "Phantasy Star, Episode I & II"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("caf&eacute; &#39;x&#39;", "café 'x'"),
        ("a<br/>b <B>bold</B> <img src='x'>c", "a b bold c"),
        ("Glove <M> size, 3 < 4", "Glove <M> size, 3 < 4"),
        ("&lt;b&gt;hidden&lt;/b&gt;", "hidden"),
        ("Title />", "Title"),
        ("tab\tand\nline\x00end\u2028x", "tab and line end x"),
        ("\x1b[31mred\x1b[0m \x1b]0;owned\x07ok", "red ok"),
        ("&#27;[2Jharmless", "[2Jharmless"),
        ("right\u202eto\u200bleft\ufeff", "righttoleft"),
        ("  a \xa0 b  ", "a b"),
        ("[bold]markup[/bold] stays", "[bold]markup[/bold] stays"),
        (None, ""),
    ],
)
def test_clean(raw: str | None, clean: str) -> None:
    assert clean_text(pl.Series("t", [raw], dtype=pl.String)).to_list() == [clean]


def test_cleaning_keeps_rows_in_order() -> None:
    raw = pl.Series("t", ["a &amp; b", "c", "a &amp; b", None])
    assert clean_text(raw).to_list() == ["a & b", "c", "a & b", ""]


def test_joined_as_sentences_without_empty_parts() -> None:
    columns = [
        pl.Series("a", ["Glue.", "Tape", ""]),
        pl.Series("b", ["", "Adhesives .", "Nails"]),
        pl.Series("c", ["Acme", "", "Bolt Inc."]),
    ]
    assert join_texts(columns, "text").to_list() == [
        "Glue. Acme",
        "Tape. Adhesives",
        "Nails. Bolt Inc.",
    ]


def test_titles_end_where_the_categories_begin() -> None:
    texts = pl.Series(
        "text",
        [
            "Caulk, 10.1 Oz. Tube, White. Shop & Home Caulk Silicone. GE.",
            "Mr. Heater Kit. Shop & Home Pipes. Mr. Heater.",
            "Saw. Shop & Home Tools. Acme Inc. (USA).",
            "Yeast 11 g. . Lallemand.",
            "Shop & Home . Shop & Home Funnels. SEOH.",
        ],
    )
    assert titles_of(texts).to_list() == [
        "Caulk, 10.1 Oz. Tube, White",
        "Mr. Heater Kit",
        "Saw",
        "Yeast 11 g",
        "Shop & Home Funnels. SEOH",  # a title that only repeats the category says nothing
    ]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("WHITE HANGING HEART T-LIGHT HOLDER", "WHITE HANGING HEART T-LIGHT HOLDER"),
        ("A lamp for the desk. Bright and small.", "A lamp for the desk"),
        ("Paint, 6.4 oz. can", "Paint, 6.4 oz. can"),
        ("...", "..."),
        ("", ""),
    ],
)
def test_titles_without_categories(text: str, title: str) -> None:
    assert titles_of(pl.Series("text", [text])).to_list() == [title]
