"""The generated reference: it covers all of the code, and no text in it acts as markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import miracle_core
from docs import make_reference
from miracle_cli import main
from miracle_core import registry
from miracle_core.config import ModelSettings, attributes, described, setting_names
from miracle_core.config.settings import settings_class


def test_every_command_and_option_is_there() -> None:
    page = make_reference.commands()
    for name in main.COMMANDS:
        assert f"## `miracle {name}`\n" in page
    for below in ("show", "verify", "export"):
        assert f"## `miracle data {below}`\n" in page
    assert "| `--top-k <int range>` | How many items to recommend." in page
    sources = Path(main.__file__).parent
    for name, (module, _) in main.COMMANDS.items():
        # Include the subcommands, if there are any.
        heading = rf"^## `miracle {name}[` ].*?(?=^## |\Z)"
        part = "".join(re.findall(heading, page, re.MULTILINE | re.DOTALL))
        source = (sources / f"{module.rpartition('.')[2]}.py").read_text(encoding="utf-8")
        for option in re.findall(r'typer\.Option\(\s*"(--[a-z-]+)"', source):
            assert f"`{option}" in part, f"{name}: {option}"


def test_every_setting_is_there_with_what_it_is() -> None:
    page = make_reference.settings()
    for spec in registry.systems():
        part = page.partition(f"## `model` of `{spec.name}`\n")[2].partition("\n## ")[0]
        for setting in described(spec.settings_class()):
            assert f"| `model.{setting.name}` | " in part
    for name in setting_names(settings_class()):
        if "." in name and name != "model.kind":
            assert f"| `{name}` | " in page, name
    assert re.search(r"^\|[^|]+\|[^|]+\|(?:[^|]|\\\|)+\| +\|$", page, re.MULTILINE) is None


def test_the_names_of_the_package_are_there() -> None:
    page = make_reference.api()
    for name in miracle_core.__all__:
        assert name.startswith("__") or f"### `{name}`\n" in page
    assert "#### `Recommender.recommend_users`\n" in page
    assert "- `InputError`: " in page
    assert "``" not in re.sub(r"^```.*$", "", page, flags=re.MULTILINE)
    assert "0x" not in page  # no object addresses, which differ from build to build


def test_every_message_is_there_once_a_folder() -> None:
    page = make_reference.messages()
    assert page.count("| the loss is not finite in epoch ... |") == 1
    assert len(re.findall(r"^\| ", page, re.MULTILINE)) > 400


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("``a_b`` *x* <y>", r"`a_b` \*x\* &lt;y>"),
        (":class:`miracle_core.Rules` of [n, C]", r"`miracle_core.Rules` of \[n, C\]"),
        ("a | b, ``c | d``", r"a \| b, `c \| d`"),
        ("x_i & co", r"x\_i &amp; co"),
    ],
)
def test_only_code_is_markup(text: str, shown: str) -> None:
    assert make_reference.escaped(text) == shown


def test_a_docstring_becomes_lists() -> None:
    text = (
        "What it does with ``a\n b``.\n\n    an example\n\nArgs:\n    one: the first,\n"
        "        on two lines.\n\nReturns:\n    A thing.\n\nMore."
    )
    assert make_reference.prose(text) == [
        "What it does with `a b`.",
        "",
        "    an example",
        "",
        "",
        "**Args**",
        "",
        "- `one`: the first,",
        "  on two lines.",
        "",
        "",
        "**Returns**",
        "",
        "  A thing.",
        "",
        "More.",
    ]


class Above(ModelSettings):
    """First.

    Attributes:
        one: what stands
            on two lines.
        two: another.
    """

    one: int = 1
    two: int = 2


class Below(Above):
    """Second.

    Attributes:
        two: said anew.
    """

    silent: bool = True


def test_attributes_are_inherited_and_silence_is_empty() -> None:
    found = attributes(Below)
    assert found["one"] == "what stands on two lines."
    assert found["two"] == "said anew."
    assert found["silent"] == ""
    assert [each.name for each in described(Below)] == ["one", "two", "silent"]
