"""Lines of Python literals (``{'asin': u'B00', 'also': None}``) as JSON; nothing is evaluated.

Older releases of the Amazon and Steam data were written with Python's ``repr``. Strings, ``None``,
``True`` and ``False`` are rewritten token by token; whatever else is in a line stays as it is, and
a line that is not JSON after that is a bad line.
"""

from __future__ import annotations

import re

import orjson

# Possessive (*+): no backtracking, so a line of any length takes one pass.
_TOKENS = re.compile(
    r"""[uU]?'([^'\\\n]*+(?:\\.[^'\\\n]*+)*+)'|[uU]?"([^"\\\n]*+(?:\\.[^"\\\n]*+)*+)"|\b(None|True|False)\b"""
)
_WORDS = {"None": "null", "True": "true", "False": "false"}
_ESCAPES = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))"
)
_SIGNS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ODD = re.compile(r'["\\\x00-\x1f]')


def is_literal(line: bytes) -> bool:
    """Whether a line looks like a Python dictionary: its first key stands in single quotes."""
    return re.match(rb"""\s*\{\s*(?:[uU]['"]|')""", line) is not None


def to_json(text: str) -> str:
    """Rewrite literals as JSON, any number of lines at once."""
    return _TOKENS.sub(_token, text)


def _token(match: re.Match[str]) -> str:
    single, double, word = match.groups()
    if word is not None:
        return _WORDS[word]
    content = single if single is not None else double
    if not _ODD.search(content):
        return f'"{content}"'
    if "\\" in content:
        content = _ESCAPES.sub(_escape, content)
        # Old Pythons wrote a character beyond the basic plane as two halves.
        content = content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return orjson.dumps(content).decode()


def _escape(match: re.Match[str]) -> str:
    for digits, base in zip(match.groups()[:4], (16, 16, 16, 8), strict=True):
        if digits is not None:
            code = int(digits, base)
            return chr(code) if code <= 0x10FFFF else "\ufffd"
    sign = match.group(5)
    return _SIGNS.get(sign, sign)
