"""Draw the pictures of the README from real answers of the program.

python docs/make_pictures.py demo/run
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).resolve().parent / "pictures"
TITLES = ("nitrile gloves, large", "1.75 mm PLA filament")
WIDTH = 120  # columns the program writes where it writes to no terminal


def terminal(shown: list[str], run: list[str], picture: Path) -> None:
    """A command and what it answers, as a terminal would show them.

    Args:
        shown: the command as a person types it.
        run: the command as it is run here.
        picture: the SVG to write.
    """
    colours = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    answer = subprocess.run(
        run, env={**colours, "FORCE_COLOR": "1"}, stdout=subprocess.PIPE, text=True, check=True
    )
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text("$ " + shlex.join(shown), style="bold"))
    console.print(Text.from_ansi(answer.stdout.rstrip()))
    svg = console.export_svg(title="miracle", unique_id="terminal")
    # A picture fetches nothing: without these the viewer's own monospaced letters are used.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    picture.parent.mkdir(exist_ok=True)
    picture.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    arguments = [f"--title={title}" for title in TITLES]
    typed = [word for title in TITLES for word in ("--title", title)]
    terminal(
        ["miracle", "recommend", "demo/run", *typed],
        [sys.executable, "-m", "miracle_cli", "recommend", sys.argv[1], *arguments],
        PICTURES / "recommend.svg",
    )
