"""The site: it builds from a checkout alone, every link works, and nothing is downloaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from docs import make_method, make_reference, make_site


def test_the_site_of_a_checkout(tmp_path: Path) -> None:
    """All checks in one test, since the site is built once: pages, decisions, search, links."""
    built = make_site.build(tmp_path)
    pages = {path.relative_to(built).as_posix() for path in built.rglob("*.html")}
    assert {"index.html", "docs/index.html", "docs/shop.html", "benchmarks/index.html"} <= pages
    assert {f"docs/reference/{name[:-3]}.html" for name in make_reference.PAGES} <= pages
    first = (built / "docs/decisions/index.html").read_text()
    for decision in (make_site.DOCS / "decisions").glob("0*.md"):
        assert f"{decision.stem}.html" in first
    assert (built / "search.json").stat().st_size > 100_000
    assert make_site.problems(built) == []


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    good = '<h1 id="top">x</h1> <a href="data.html#here">x</a> <a href="https://example.org">x</a>'
    wrong = {
        '<a href="nowhere.html">x</a>': "links to nowhere.html, which is not there",
        '<a href="data.html#nothing">x</a>': "links to data.html#nothing, which has no such anchor",
        '<a href="#nothing">x</a>': "links to #nothing, which has no such anchor",
        '<img src="pictures/no.svg">': "links to pictures/no.svg, which is not there",
        '<img src="https://example.org/x.png">': "loads https://example.org/x.png from the network",
        '<script src="//example.org/x.js"></script>': "loads //example.org/x.js from the network",
        '<link href="//a.example/x.css">': "loads //a.example/x.css from the network",
        '<pre class="mermaid">x</pre>': "loads the library mermaid from the network",
    }
    (tmp_path / "data.html").write_text('<p id="here">x</p> <a href="shop.html#top">x</a>')
    page = tmp_path / "shop.html"
    page.write_text(good)
    assert make_site.problems(tmp_path) == []
    page.write_text(good + "".join(wrong))
    found = make_site.problems(tmp_path)
    assert sorted(found) == sorted(f"shop.html {said}" for said in wrong.values())


@pytest.mark.parametrize("wrong", ["[x](nowhere.md)", "[x](data.md#nothing)"])
def test_a_broken_link_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    config = (make_site.DOCS / make_site.CONFIG).read_text()
    start, _, rest = config.partition("nav = [")
    (docs / make_site.CONFIG).write_text(start + rest.partition("\n]\n")[2])
    (tmp_path / "source").mkdir()
    (tmp_path / "source/README.md").write_text("# One\n\ntext\n")
    (tmp_path / "source/data.md").write_text("# Data\n\n[one](README.md#one)\n")
    shutil.copy(docs / make_site.CONFIG, tmp_path)
    assert (make_site.render(tmp_path) / "data.html").is_file()
    (tmp_path / "source/README.md").write_text(f"# One\n\n{wrong}\n")
    with pytest.raises(SystemExit, match="does not exist"):
        make_site.render(tmp_path)


def test_pages_that_nobody_would_find_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_reference, "PAGES", dict.fromkeys(make_reference.PAGES, str))
    source = make_site.lay(tmp_path)
    assert make_site.unlisted(source) == []
    (source / "docs/new.md").write_text("# New\n")
    (source / "docs/shop.md").unlink()
    assert make_site.unlisted(source) == [
        "docs/new.md is not in docs/zensical.toml",
        "docs/shop.md is in docs/zensical.toml, and there is none",
    ]


def test_every_page_is_in_the_index() -> None:
    index = (make_site.DOCS / "README.md").read_text(encoding="utf-8")
    for page in make_site.DOCS.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_the_picture_of_the_method_is_what_its_script_draws() -> None:
    assert make_method.PICTURE.read_text(encoding="utf-8") == make_method.drawn()
