"""Text of items, cleaned: no HTML, no control characters, single spaces."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from html.entities import html5

import polars as pl

# One entity, by name or number. Without its semicolon it is text: "R&D", "Pen&notebook".
_ENTITY = re.compile(r"&(?:#\d+|#[xX][\da-fA-F]+|[A-Za-z][A-Za-z\d]*);")
# What a page doesn't show: what stands between these tags isn't text. Where the end is missing, all
# that follows is taken if the text begins with the tag, or if code follows it.
_UNSHOWN = (
    r"(?is)<script\b[^<>]*>.*?</script\s*>|<style\b[^<>]*>.*?</style\s*>|<!--.*?-->|"
    r"<!doctype\b[^>]*>|<\?(?:php|xml|=).*?\?>|<%.*?%>|"
    r"^\s*<(?:script\b|style\b|!--|\?(?:php|xml|=)|%).*$|"
    r"<(?:script|style)\b[^<>]*>[^<]*(?:[{}=]|\w\().*$"
)
_CDATA = r"(?i)<!\[CDATA\[|\]\]>"  # around what is text
# Known tags only: "<M>" in a title is a size, not markup. So is a capital letter of its own that
# nothing closes ("<S>"), and "a <b and c> d" holds no attribute.
_NAMES = (
    "abbr|article|aside|base|big|blockquote|body|br|button|center|code|dd|div|dl|dt|em|fieldset|font|"
    "footer|form|h[1-6]|head|header|hr|html|iframe|img|input|label|li|link|meta|nav|noscript|ol|"
    "option|path|pre|section|select|small|span|strike|strong|sub|sup|svg|table|tbody|td|"
    "textarea|tfoot|th|thead|title|tr|tt|ul"
)
_ATTRIBUTES = (
    "align|alt|class|color|content|data-[a-z-]+|dir|face|height|href|id|lang|name|on[a-z]+|rel|role|"
    "size|src|style|target|title|type|value|width"
)
_QUOTED = r"""\s+[a-z][\w:-]*\s*=\s*["'][^<>]*"""
_TAGS = (
    rf"(?i)</?(?:{_NAMES})(?:\s[^<>]*=[^<>]*|\s+(?:async|clear|checked|defer|disabled|hidden|nowrap|"
    r"noshade|selected)\s*|\s*)/?>|"
    rf"</?[abipsu](?:{_QUOTED}|(?:\s+(?:{_ATTRIBUTES})\s*=[^\s<>]+)+\s*)/?>|"
    r"</(?:script|style)\s*>|<(?:script|style)\s[^<>]*=[^<>]*>|"
    r"</[abipsu]\s*>|<[ip]\s*/?>|(?-i:<[absu]\s*/?>)|"
    # A tag whose end was cut off, and the end of one whose beginning was.
    rf"</?(?:{_NAMES}|[abipsu])(?:{_QUOTED}|\s+(?:{_ATTRIBUTES})\s*=[^\s<>]*)$"
)
_TAG_END = r"""(^|[\s"'])/>(\s|[.,;]|$)"""
_CAPITAL = re.compile(r"<([ABSU])>")
# A text that begins as scripts and style sheets do, which shops' pages gave in place of a title.
# Each way has more than one sign of code, since prose has words and braces, too: "let it = be;".
_NAME = r"[A-Za-z_$][\w$]*"
_VALUE = (
    r"(?:new |typeof |function\b|\(|\[|\{|['\"\d]|!|-\d|(?:true|false|null|undefined)\b|"
    rf"(?:window|document|this|self)\b|{_NAME}(?:\.{_NAME})*\(|{_NAME}\.{_NAME})"
)
_SCRIPT = (
    rf"(?:var|let|const) {_NAME} ?= ?{_VALUE}",
    rf"(?:var|const) {_NAME} ?= ?{_NAME} ?;?$",
    rf"\(? ?function ?[\w$]* ?\((?: ?{_NAME} ?,?)*\) ?\{{",
    rf"(?:window|document)(?:\.{_NAME})+(?: ?=[^=]|\()",
    r"P\.when ?\( ?['\"]",
    r"(?:jQuery|\$)\( ?(?:document|window|function|this|['\"][#.A-Za-z<])|jQuery\.\w+ ?[(=]",
    rf"if ?\( ?(?:!\w|typeof |(?:window|document)[.)]|{_NAME}(?:\.{_NAME})* ?(?:[=!]==?|&&|\|\|))",
    r"try ?\{ ?[\w$.]+ ?[(=]",
    r'\{ ?"@context" ?:',
    r"\{\{-? ?[a-z_$]\w*(?:(?:\.|_|\|| \| ?)\w+)+ ?-?\}\}$|\{\{ ?(?:title|name|product) ?\}\}$",
)
_SELECTOR = (
    r"(?:[.#][A-Za-z_-][\w-]*|(?:a|p)[.:#,\[{]|"
    r"(?:html|body|div|span|table|img|input|button|form|ul|ol|li|td|tr|th|h[1-6])\b)"
)
_PROPERTY = (
    r"(?:-[a-z]+-)?(?:background|border|bottom|box|clear|color|content|cursor|display|float|font|"
    r"height|left|letter|line|list|margin|max|min|opacity|overflow|padding|position|right|text|top|"
    r"transition|vertical|visibility|white|width|z)[a-z-]*"
)
# What prose doesn't give as a measure or a colour: {width: 5cm} is a title's.
_SHEET_VALUE = (
    r"(?:#[\da-fA-F]{3,8}\b|-?\d*\.?\d+(?:px|em|rem|ex|pt|vh|vw|%)|-?0\b|url\(|rgba?\(|'|\"|!important|"
    r"(?:none|auto|inherit|initial|block|inline|inline-block|absolute|relative|fixed|static|hidden|"
    r"visible|pointer|nowrap|left|right|both|bold|normal|transparent)\b)"
)
_SHEET = (
    rf"{_SELECTOR}[^{{}};]*\{{ ?{_PROPERTY} ?: ?[^;{{}}]*{_SHEET_VALUE}",
    rf"{_SELECTOR}[^{{}}; ]*\{{{_PROPERTY}:\S",  # written without a space
    r"@media (?:screen|print|all|only|not|\()[^{;]*\{|@media(?:screen|\()|@font-face ?\{|"
    r"@(?:-[a-z]+-)?keyframes [\w-]+ ?\{|@import (?:url\(|['\"])|@charset ['\"]",
)
# To the end, or to where the title was joined to what follows it.
_PAGE_CODE = rf"^(?:{'|'.join((*_SCRIPT, *_SHEET))})(?:.*?[;)}}] ?\. |.*$)"
# Whole terminal sequences (colours, cursor moves, window titles), not only their first byte.
_TERMINAL = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]"
_CONTROL = r"[\p{Cc}\p{Zl}\p{Zp}]"
# Invisible marks, text direction overrides among them; the two joiners shape real scripts.
_INVISIBLE = r"[\p{Cf}&&[^\x{200c}\x{200d}]]"

_MIN_SHARE = 0.01  # of the items: a phrase that opens so many category fields is no accident


def clean_text(texts: pl.Series) -> pl.Series:
    """Texts without HTML entities and tags, control characters and runs of white space.

    An entity is replaced once: ``&amp;lt;`` is a text that shows ``&lt;``. Scripts, style sheets
    and other code of a page are no text: nothing is left of a title that is such code. What may be
    prose stays: a brace, a word such as ``let`` or a ``<b`` alone makes no code.

    Args:
        texts: String [n]; null is read as empty.

    Returns:
        String [n] without nulls.
    """
    column = pl.col(texts.name)
    frame = pl.DataFrame([texts.fill_null("")])
    has_entity = frame[texts.name].str.contains(_ENTITY.pattern)
    if has_entity.any():
        found = frame.filter(has_entity)[texts.name].unique(maintain_order=True)
        plain = [_ENTITY.sub(_character, text) for text in found]
        frame = frame.with_columns(column.replace(found, pl.Series(plain, dtype=pl.String)))
    has_capital = frame[texts.name].str.contains(_CAPITAL.pattern)
    if has_capital.any():
        found = frame.filter(has_capital)[texts.name].unique(maintain_order=True)
        plain = [_without_paired_capitals(text) for text in found]
        frame = frame.with_columns(column.replace(found, pl.Series(plain, dtype=pl.String)))
    cleaned = (
        column.str.replace_all(_UNSHOWN, " ")
        .str.replace_all(_CDATA, " ")
        .str.replace_all(_TAGS, " ")
        .str.replace_all(_TAG_END, "$1 $2")
        .str.replace_all(_TERMINAL, "")
        .str.replace_all(_CONTROL, " ")
        .str.replace_all(_INVISIBLE, "")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
        .str.replace(_PAGE_CODE, "")
    )
    return frame.select(cleaned).to_series()


def _character(entity: re.Match[str]) -> str:
    """What one entity stands for; a name that HTML doesn't know stays as it is."""
    name = entity.group()
    return html.unescape(name) if name[1] == "#" or name[1:] in html5 else name


def _without_paired_capitals(text: str) -> str:
    """Without the tags of one capital letter that are closed further on."""

    def bare(tag: re.Match[str]) -> str:
        closed = re.search(rf"</{tag[1]}\s*>", text[tag.end() :], re.IGNORECASE)
        return " " if closed else tag[0]

    return _CAPITAL.sub(bare, text)


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
