"""Build the documentation as a site: ``make docs``, or ``python docs/make_site.py [FOLDER]``.

The pages are laid into FOLDER (``build/docs``) as they lie in the repository, so that their links
are the same there and here; the generated reference joins them, and Zensical makes HTML of all.
Links that lead nowhere, anchors that are not there, pages that nobody can find and anything that
would be loaded from the network are errors. Nothing is fetched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
if str(ROOT) not in sys.path:  # run as a script, Python looks beside it and no further
    sys.path.insert(0, str(ROOT))

from docs import make_reference  # noqa: E402

CONFIG = "zensical.toml"
# What a reader is shown besides docs/.
BESIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "benchmarks/README.md")
REFERENCE = Path("docs", "reference")


def lay(folder: Path) -> Path:
    """Lay the pages and the configuration into a folder, in place of those there.

    Returns:
        The folder of the pages.
    """
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", CONFIG)
    shutil.copytree(DOCS, source / "docs", ignore=ignored)
    for name in BESIDE:
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    make_reference.write(source / REFERENCE)
    list_decisions(source / "docs" / "decisions")
    shutil.copy(DOCS / CONFIG, folder / CONFIG)
    return source


def list_decisions(folder: Path) -> None:
    """Add a list of all decisions to their first page, so that the site leads to each."""
    pages = sorted(folder.glob("[0-9]*.md"))
    titles = [page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for page in pages]
    rows = [f"- [{title}]({page.name})" for title, page in zip(titles, pages, strict=True)]
    first = folder / "README.md"
    text = first.read_text(encoding="utf-8")
    first.write_text("\n".join([text, *rows, ""]), encoding="utf-8")


def render(folder: Path) -> Path:
    """Make HTML of the pages laid into a folder.

    Returns:
        The folder of the site.

    Raises:
        SystemExit: Zensical found a link or an anchor that leads nowhere.
    """
    site = folder / "site"
    shutil.rmtree(site, ignore_errors=True)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(folder / CONFIG)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}
    )
    if done.returncode:
        said, _, _ = (done.stdout + done.stderr).partition("Traceback")
        raise SystemExit(re.sub(r"\x1b\[[0-9;]*m", "", said).strip())
    return site


class _Page(HTMLParser):
    """What a page links to, loads and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if "mermaid" in given.get("class", "").split():
            self.loads.append("the library mermaid")
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given:
            self.loads.append(given["href"])
        if "src" in given:
            self.loads.append(given["src"])


def problems(site: Path) -> list[str]:
    """What is wrong with a site: a sentence each, by a reading of the HTML alone.

    Zensical's own check does not see pictures, links written as HTML, or what a page loads.
    """
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in sorted(pages.items()):
        if path.name == "404.html":  # its links begin at the root of a server
            continue
        name = path.relative_to(site)
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "the library mermaid":
                if link in page.loads and parts.scheme != "data":
                    found.append(f"{name} loads {link} from the network")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                found.append(f"{name} links to {link}, which is not there")
            elif parts.fragment and target in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[target].anchors:
                    found.append(f"{name} links to {link}, which has no such anchor")
    return found


def unlisted(source: Path) -> list[str]:
    """Pages that the navigation does not have; decisions are listed by their own index."""
    nav = tomllib.loads((DOCS / CONFIG).read_text(encoding="utf-8"))["project"]["nav"]
    listed = {
        page
        for section in nav
        for value in section.values()
        for page in ([value] if isinstance(value, str) else value)
    }
    pages = {path.relative_to(source).as_posix() for path in source.rglob("*.md")}
    pages = {page for page in pages if not page.startswith("docs/decisions/0")}
    return [f"{page} is not in docs/{CONFIG}" for page in sorted(pages - listed)] + [
        f"{page} is in docs/{CONFIG}, and there is none" for page in sorted(listed - pages)
    ]


def build(folder: Path) -> Path:
    """Lay, render and check.

    Returns:
        The folder of the site.

    Raises:
        SystemExit: with what is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = lay(folder)
    wrong = unlisted(source)
    if not wrong:
        wrong = problems(render(folder))
    if wrong:
        raise SystemExit("\n".join(wrong))
    return folder / "site"


if __name__ == "__main__":
    made = build(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build" / "docs")
    sys.stdout.write(f"{made / 'index.html'}\n")
