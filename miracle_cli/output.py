"""What the commands share for their output: results to stdout, everything else to stderr.

Text from data goes through :func:`plain` and is never read as markup. Rich is imported by what
needs it only.
"""

from __future__ import annotations

import contextlib
import io
import sys
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from miracle_cli.verbosity import is_quiet, log

if TYPE_CHECKING:
    from miracle_core.errors import MiracleError

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended
_PIPE_WIDTH = 120  # columns where stdout is not a terminal
_JOINERS = "\u200c\u200d"  # invisible, but they shape real scripts


def plain(text: object) -> str:
    """Text on one line that can't move the cursor, change colours or turn around its surroundings.

    Control characters become spaces, invisible ones vanish.
    """
    shown = []
    for character in str(text):
        category = unicodedata.category(character)
        if category in ("Cc", "Zl", "Zp"):
            shown.append(" ")
        elif category not in ("Cf", "Cs") or character in _JOINERS:
            shown.append(character)
    return "".join(shown)


def shortened(text: object, length: int = 160) -> str:
    """:func:`plain` text cut to what a table can show: a title may have any length."""
    shown = plain(text)
    return shown if len(shown) <= length else shown[: length - 1].rstrip() + "…"


def message(text: str) -> None:
    """Tell the person something that is no result, unless only errors are to be told."""
    log(text)
    if not is_quiet():
        _show(text)


def _show(text: str) -> None:
    """A line on stderr. Where nobody can be told any more (it is gone), the work goes on."""
    with contextlib.suppress(OSError):
        sys.stderr.write(plain(text) + "\n")
        sys.stderr.flush()


def tell_drawn(*drawn: Any) -> None:
    """Tell what Rich draws (text, a table) as :func:`message` tells a line."""
    from rich.console import Console

    lines = Console(file=io.StringIO(), width=_PIPE_WIDTH, color_system=None)
    lines.print(*drawn)
    assert isinstance(lines.file, io.StringIO)
    log(lines.file.getvalue().rstrip())
    if not is_quiet():
        width = None if sys.stderr.isatty() else _PIPE_WIDTH
        Console(file=sys.stderr, width=width).print(*drawn)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """While results are written: say of a failure that it is the output's.

    Raises:
        MiracleError: it can't be written, but for a reader that has gone away.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        from miracle_core.errors import MiracleError

        raise MiracleError(
            f"the output can't be written: {error.strerror or error}",
            where="standard output",
            remedy="send it to another place; what the command wrote to files is there",
        ) from error


def print_error(error: MiracleError) -> None:
    """Three lines: what is wrong, where, how to fix it. They are told in every case."""
    lines = [f"error: {error.what}"]
    if error.where:
        lines.append(f"where: {error.where}")
    if error.remedy:
        lines.append(f"fix:   {error.remedy}")
    for line in lines:
        log(line)
        _show(line)


def print_json(value: Any) -> None:
    """Print one JSON document, in ASCII where the output's encoding lacks a character."""
    import orjson

    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        import json

        text = json.dumps(orjson.loads(text), indent=2)
    with printing():
        sys.stdout.write(text + "\n")


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    right: Collection[str] = (),
) -> None:
    """Print a table.

    Args:
        columns: the headings.
        rows: the cells; whole numbers get thousands separators, numbers stand to the right.
        title: what stands above it.
        right: headings of more columns whose cells stand to the right.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    table.title = Text(plain(title)) if title else None
    for index, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        justify: Literal["left", "right"] = "right" if numbers or column in right else "left"
        table.add_column(Text(plain(column)), justify=justify)
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    with printing():
        console.print(table)


def print_fields(fields: Mapping[str, object], *, title: str | None = None) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, fields), default=0)
    lines = [plain(title)] if title else []
    lines += [f"{name:<{width}}  {_cell(value)}" for name, value in fields.items()]
    with printing():
        sys.stdout.write("\n".join(lines) + "\n")


def bar(share: float, width: int = 30) -> str:
    """A text bar for a share between 0 and 1; anything above 0 shows."""
    eighths = max(round(share * width * 8), int(share > 0))
    parts: tuple[str, ...] = ("", *"▏▎▍▌▋▊▉")
    return "█" * (eighths // 8) + parts[eighths % 8]


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return plain(value)
