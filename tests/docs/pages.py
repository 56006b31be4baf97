"""Run documentation pages as a reader would: block after block, in one folder."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miracle_cli.main import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
FENCED = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: ``sh`` for commands, ``python`` for code.
        title: the name of the file that the block shows; empty if it is not a file.
        text: the content of the block.
        line: the line in the page where the content begins, from 1.
    """

    language: str
    title: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(found[1], found[2] or "", found[3], text.count("\n", 0, found.start(3)) + 1)
        for found in FENCED.finditer(text)
    ]


def commands(block: Block) -> list[list[str]]:
    """The commands in a shell block, one per line; a final backslash continues a line."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_page(
    page: str, names: dict[str, Any], instead: Callable[[Sequence[str]], bool] = lambda words: False
) -> list[list[str]]:
    """Run all blocks of a page in the current folder.

    Args:
        page: the file of the page.
        names: receives what the code blocks define. A reader leaves Python to run a command, so a
            code block after a command does not see the code before it.
        instead: replaces some commands; returns whether it handled the command.

    Returns:
        The commands that were run, without the word ``miracle``.
    """
    done: list[list[str]] = []
    scope: dict[str, Any] = {}
    for block in blocks(page):
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            # Pad with empty lines, so that a traceback shows the line number in the page.
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, str(DOCS / page), "exec"), scope)
            names.update(scope)
        elif block.language == "sh":
            scope = {}
            for words in commands(block):
                if not instead(words[1:]):
                    assert _call(words) == 0, f"{page}: {shlex.join(words)}"
                done.append(words[1:])
    return done


def _call(words: list[str]) -> int:
    """Run a command in this process, since a new process takes seconds to start."""
    if words[0] == "miracle":
        return main(words[1:])
    assert words[0] == "python", f"{words[0]} can't be tried here"
    before = sys.argv
    sys.argv = words[1:]
    try:
        runpy.run_path(words[1], run_name="__main__")
    finally:
        sys.argv = before
    return 0
