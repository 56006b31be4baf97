"""Item texts: cleaning and titles."""

from __future__ import annotations

import polars as pl
import pytest

from miracle_core.data.readers.clean import clean_text, join_texts, titles_of


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Phantasy Star, Episode I &amp; II", "Phantasy Star, Episode I & II"),
        # Unescaped only once: an escaped entity becomes a plain one.
        ("Tom &amp;amp; Jerry", "Tom &amp; Jerry"),
        ("Pen&amp;notebook", "Pen&notebook"),
        ("Pen&notebook &copy 2020 &copy;", "Pen&notebook &copy 2020 ©"),
        ("R&amp;D &notit; &foo; &#x41;&#66; & co; &;", "R&D &notit; &foo; AB & co; &;"),
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
        ("<![CDATA[Blue <b>Lamp</b>]]>", "Blue Lamp"),
        ("<S>old</S> new <B>big</B> <P>x", "old new big x"),
        ("Lamp <script>x()", "Lamp"),
        ("<input disabled>Lamp<br clear=all>", "Lamp"),
        ('<a href="x?a=b">Lamp</a> <i>warm', "Lamp warm"),
        ('Lamp <span class="a-size', "Lamp"),
        ("[bold]markup[/bold] stays", "[bold]markup[/bold] stays"),
        (None, ""),
    ],
)
def test_clean(raw: str | None, clean: str) -> None:
    assert clean_text(pl.Series("t", [raw], dtype=pl.String)).to_list() == [clean]


@pytest.mark.parametrize(
    "code",
    [
        "<script>alert(1)</script>",
        "<SCRIPT type='x'>if (a < b) {\n  go();\n}</SCRIPT >",
        "<script>never closed",
        "&lt;script&gt;escaped()&lt;/script&gt;",
        "<style>.a { color: red }</style>",
        "<style media=print>\n.a { color: red }",
        "<!-- a comment\nof two lines -->",
        "<script>go()",
        "let a = new Date();",
        "let n = 0; var m = n.length",
        "var x = document.title",
        "jQuery('#buy').hide()",
        "jQuery(document).ready(go)",
        "#buybox { display: none }",
        "table { width: 100%; border: 0 }",
        ".a-size-base{color:red}",
        "@font-face {font-family: x}",
        "{{title}}",
        "<?php echo $title; ?>",
        "<% title %>",
        "<!DOCTYPE html><html><head></head><body></body></html>",
        '<span class="a-size-medium a-color-secon',
        "var aPageStart = (new Date()).getTime();",
        "const a = b;",
        "(function(){ window.x = 1; })();",
        "function go(a, b) { return a }",
        "if(typeof uet == 'function'){uet('bb','x')}",
        "window.ue_t0 = 5",
        "P.when('A').execute(function(A){})",
        "$(document).ready(function(){})",
        ".a-box-inner{background-color:#fff}#buyBox .selected{color:#fffbf3;border-color",
        "body { margin:0 }",
        "@media screen{.a{color:red}}",
        '{"@context": "https://schema.org", "name": "x"}',
        "{{ product.title }}",
    ],
)
def test_nothing_is_left_of_page_code(code: str) -> None:
    assert clean_text(pl.Series("t", [code])).to_list() == [""]


@pytest.mark.parametrize(
    "title",
    [
        "Function Generator (2 channel)",
        "jQuery in Action, 2nd edition; paperback",
        "JavaScript: var, let and const; a T-shirt",
        "Let it be = a record; mono",
        "#1 Dad {funny: shirt}",
        "a t-shirt {color: red};",
        "Body Lotion, color: red; 3 oz",
        "Table, width: 30 in; height: 20 in",
        "if (1984) were a novel",
        "Style: modern; Script font",
        "Ring <b 3",
        "Windows.Forms handbook (2nd)",
        "{limited} edition",
        "let it = be;",
        "let it = be; a song (live)",
        "const or var = either; a puzzle",
        "{width: 5cm}",
        "Shelf {width: 5cm; height: 30cm}",
        "table {width: 5cm}",
        "#Shelf {width: 80cm; color: oak}",
        "a <b and c> d",
        "a <b c=3> d",
        "x <a 5> y <p 3> z <table and chairs>",
        "T-Shirt <S> <M>, bra <B>",
        "HTML <script> for beginners; a guide",
        "Milk <% 3.5 fat, organic",
        "a <!-- b",
        "jQuery (2nd edition): a guide",
        "jQuery. The handbook",
        "$ (.99) sale",
        "{{Limited Edition}}",
        "if (window seat) is free",
        "window.blind (white)",
        "@media player; black {new}",
        "@import shop; tea",
        "on/off/>5V",
        "try this (again) {new}",
        "function (2) {blue}",
    ],
)
def test_titles_that_only_look_like_code_stay(title: str) -> None:
    assert clean_text(pl.Series("t", [title])).to_list() == [title]


def test_code_in_place_of_a_title_leaves_what_follows_it() -> None:
    raw = ["var a = (new Date()).get();. Tools & Home. Acme.", "<style>.a{b:c}</style>Lamp"]
    raw += [".a{color:red}. Tools & Home", "Lamp <script>x()</script> with <b>shade</b>"]
    assert clean_text(pl.Series("t", raw)).to_list() == [
        "Tools & Home. Acme.",
        "Lamp",
        "Tools & Home",
        "Lamp with shade",
    ]


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
        "Shop & Home Funnels. SEOH",  # a title that only repeats the category
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
