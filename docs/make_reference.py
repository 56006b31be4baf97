"""Write the reference pages of the site from the code itself.

    python docs/make_reference.py FOLDER

``commands.md`` has every command with every option, ``settings.md`` every setting, ``api.md`` what
a program imports, with its docstrings, ``messages.md`` every error message. ``docs/make_site.py``
calls this; nobody edits the pages.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel

import miracle_core
from miracle_cli import main
from miracle_core import registry
from miracle_core.config import (
    CooccurrenceSettings,
    LossSettings,
    PretrainSettings,
    Section,
    Settings,
    TrainSettings,
    described,
)

# What stands beside `from miracle_core import ...`: the doors of the parts, by their modules.
PARTS: dict[str, tuple[str, ...]] = {
    "miracle_core.recommender.results": (
        "Recommendation",
        "HistoryItem",
        "ActiveCapsule",
        "Recommended",
        "Trace",
        "Match",
        "Neighbour",
        "UserHistory",
        "CapsuleSummary",
        "CapsuleUse",
        "Activations",
    ),
    "miracle_core.recommender.lists": ("Recommendations", "Vectors"),
    "miracle_core.evaluation.evaluate_run": ("RunEvaluation",),
    "miracle_core.report.comparison": ("Comparison",),
    "miracle_core.batch": (
        "recommend_batch",
        "all_users",
        "named_users",
        "json_requests",
        "BatchResult",
    ),
    "miracle_core.export": ("export", "ExportResult"),
    "miracle_core.training.update": ("update",),
    "miracle_core.training.finetuning": ("finetune",),
    "miracle_core.training.pretraining": ("pretrain",),
    "miracle_core.training.seeds": ("finetune_seeds",),
    "miracle_core.training.listeners": ("Listener",),
    "miracle_core.tuning.study": ("tune",),
    "miracle_core.data.readers": ("read", "ReadOptions"),
    "miracle_core.data.interactions": ("Interactions",),
    "miracle_core.data.prepare": ("prepare", "PrepareSettings"),
    "miracle_core.text": ("TextEncoder", "load_encoder", "encode_dataset"),
    "miracle_core.data.dataset": ("EncoderIdentity",),
    "miracle_core.systems.base": ("System", "Sizes", "ItemSide", "Encoded"),
    "miracle_core.ranking.interests": ("Interests",),
    "miracle_core.data.packed": ("Packed",),
    "miracle_core.runs.folder": ("RunFolder",),
    "miracle_core.check": ("check_system",),
}
NOTE = "This page is generated from the code by `docs/make_reference.py`.\n"


def commands() -> str:
    """Every command of the command line, with its help and its options."""
    lines = ["# Commands", "", NOTE]
    lines += ["| command | what it does |", "|---|---|"]
    for name, (_, about) in main.COMMANDS.items():
        lines.append(f"| [`miracle {name}`](#miracle-{name}) | {escaped(about)} |")
    lines += ["", "Options of `miracle` itself: `--version`, `--debug` (shows the traceback of an"]
    lines += ["error), `--install-completion` and `--show-completion`. Exit codes: 0; 1 for a"]
    lines += ["failed run; 2 for usage or input; 130 where Ctrl-C ended it.", ""]
    for words, command in _commands():
        lines += [f"## `{' '.join(words)}`", "", *prose(inspect.cleandoc(command.help or ""))]
        rows = _parameters(command, words)
        if rows:
            lines += ["", "| argument or option | what it is |", "|---|---|", *rows]
        lines.append("")
    return "\n".join(lines)


def _commands() -> Iterator[tuple[list[str], Any]]:
    """Each command with the words that call it; those below a group after it."""
    group = typer.main.get_command(main.app)
    for name in main.COMMANDS:
        command: Any = group.get_command(None, name)  # type: ignore[attr-defined]
        yield ["miracle", name], command
        for below, inner in getattr(command, "commands", {}).items():
            yield ["miracle", name, below], inner


def _parameters(command: Any, words: Sequence[str]) -> list[str]:
    # Nothing is parsed and no default is asked for: the context is only read.
    context = command.make_context(" ".join(words), [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    return [
        f"| `{names.replace('|', chr(92) + '|')}` | {escaped(about)} |"
        for names, about in filter(None, records)
        if not names.startswith(("-h", "--help"))
    ]


def settings() -> str:
    """Every setting: of a whole run, of the shared sections, of each system."""
    lines = ["# Settings", "", NOTE]
    lines += [
        "A setting is given as `--set NAME=VALUE`, in a config file (TOML), or in Python as",
        "`settings={NAME: VALUE}`. What [training](../training.md#settings) names as an option has",
        "one besides. Unknown names are refused, and the nearest one that exists is named.",
        "",
        "## Of a whole run",
        "",
        *_settings(Settings, ""),
    ]
    shared = {
        "train": TrainSettings,
        "loss": LossSettings,
        "cooccurrence": CooccurrenceSettings,
        "pretrain": PretrainSettings,
    }
    for name, section in shared.items():
        about = (section.__doc__ or "").partition("\n")[0]
        lines += [f"## `{name}`", "", escaped(about), "", *_settings(section, f"{name}.")]
    for spec in registry.systems():
        own = spec.settings_class()
        lines += [f"## `model` of `{spec.name}`", "", f"{escaped(spec.title)}. {_needs(spec)}", ""]
        lines += _settings(own, "model.")
        if own.SEARCH:
            lines += ["Searched by `miracle tune`:", ""]
            lines += ["| setting | among |", "|---|---|"]
            lines += [
                f"| `{name}` | {escaped(each.words())} |" for name, each in own.SEARCH.items()
            ]
            lines.append("")
    return "\n".join(lines)


def _needs(spec: registry.SystemSpec) -> str:
    needs = ", ".join(spec.needs) or "nothing but interactions"
    return f"It needs {needs}. Presets: {', '.join(spec.settings_class().PRESETS)}."


def _settings(section: type[Section], above: str) -> list[str]:
    rows = [
        f"| `{above}{each.name}` | `{shown(each.default)}` | {escaped(each.allowed)} | "
        f"{escaped(each.about)} |"
        for each in described(section)
    ]
    if not rows:
        return ["It has no settings of its own.", ""]
    return ["| setting | default | allowed | what it is |", "|---|---|---|---|", *rows, ""]


def shown(value: Any) -> str:
    """A default as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def api() -> str:
    """What a program imports, with signatures and docstrings."""
    lines = ["# Python API", "", NOTE]
    lines += ["[python.md](../python.md) shows how the names go together.", ""]
    lines += ["## `from miracle_core import ...`", ""]
    for name in miracle_core.__all__:
        if not name.startswith("__"):
            lines += _documented(name, getattr(miracle_core, name))
    for module, names in PARTS.items():
        lines += [f"## `{module}`", ""]
        held = import_module(module)
        for name in names:
            lines += _documented(name, getattr(held, name))
    return "\n".join(lines)


def _documented(name: str, value: Any) -> list[str]:
    lines = [f"### `{name}`", "", *_signature(name, value), *docstring(value), ""]
    if inspect.isclass(value):
        for below, member in _members(value):
            kind = "property" if isinstance(member, property | cached_property) else "method"
            lines += [f"#### `{name}.{below}`", ""]
            if kind == "method":
                lines += _signature(below, member)
            lines += [*docstring(member), ""]
    return lines


def _members(kind: type) -> list[tuple[str, Any]]:
    """Public methods and properties that a class or a parent of ours defines, with a docstring."""
    found: dict[str, Any] = {}
    for parent in reversed(kind.__mro__):
        if parent.__module__.startswith("miracle_core."):
            found |= {name: value for name, value in vars(parent).items() if _shown(name, value)}
    return list(found.items())


def _shown(name: str, value: Any) -> bool:
    kinds = (property, cached_property, staticmethod, classmethod)
    callable_ = isinstance(value, kinds) or inspect.isfunction(value)
    return not name.startswith("_") and callable_ and bool(inspect.getdoc(_plain(value)))


def _plain(value: Any) -> Any:
    return value.__func__ if isinstance(value, staticmethod | classmethod) else value


def _signature(name: str, value: Any) -> list[str]:
    if isinstance(value, type) and not _is_record(value):
        return []
    try:
        found = inspect.signature(_plain(value))
    except (TypeError, ValueError):
        return []
    bare = [
        each.replace(annotation=_unquoted(each.annotation))
        for each in found.parameters.values()
        if each.name not in ("self", "cls")
    ]
    made = found.replace(parameters=bare, return_annotation=_unquoted(found.return_annotation))
    # The same code gives the same page: no addresses of objects.
    words = re.sub(r"<factory>|<(?:[^<>]|<\w+>)* at 0x[0-9a-f]+>", "...", str(made))
    text = f"{name}{words}"
    if len(text) > 100:
        text = re.sub(r", (?=\w+:|\*)", ",\n    ", text.replace("(", "(\n    ", 1))
    return ["```python", text, "```", ""]


class _Words:
    """An annotation that is shown as it is written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _unquoted(annotation: Any) -> Any:
    return _Words(annotation) if isinstance(annotation, str) else annotation


def _is_record(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, Enum)


def docstring(value: Any) -> list[str]:
    """A docstring as Markdown: its sections as lists, its roles as code."""
    own = value.__doc__ if isinstance(value, type) else inspect.getdoc(_plain(value))
    if isinstance(value, type) and issubclass(value, BaseModel) and not own:
        own = ""
    return prose(inspect.cleandoc(own or ""))


RAISED = ("InputError", "MiracleError", "RuleError")
SECTIONS = {"Args": True, "Attributes": True, "Raises": True, "Returns": False, "Yields": False}


def prose(text: str) -> list[str]:
    """Lines of Markdown from a docstring or a help text."""
    lines: list[str] = []
    section: str | None = None
    # Code that goes on in the next line is brought onto one.
    text = _CODE.sub(lambda code: " ".join(code[0].split()), text)
    for line in text.splitlines():
        if line.removesuffix(":") in SECTIONS and line.endswith(":"):
            section = line.removesuffix(":")
            lines += ["", f"**{section}**", ""]
            continue
        if line and not line.startswith(" "):
            section = None
        entry = re.match(r" {4}(\*{0,2}\w+): (.*)$", line)
        if section is None:
            # What stands further in is an example, which Markdown shows as it is.
            lines.append(line if line.startswith("    ") else escaped(line.strip()))
        elif SECTIONS[section] and entry:
            lines.append(f"- `{entry[1]}`: {escaped(entry[2])}")
        else:
            lines.append(f"  {escaped(line.strip())}".rstrip())
    return lines


_CODE = re.compile(r"(``[^`]+``|`[^`]+`)")


def escaped(text: str) -> str:
    """Text for Markdown: code stays code, nothing else is read as markup."""
    text = re.sub(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`]+)`", r"`\1`", text)
    parts = _CODE.split(" ".join(text.split("\n")))
    return "".join(_part(part) for part in parts)


def _part(part: str) -> str:
    if _CODE.fullmatch(part):
        return "`" + part.strip("`").replace("|", r"\|") + "`"
    part = part.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\*_\[\]|{}])", r"\\\1", part)


@dataclasses.dataclass(frozen=True)
class Message:
    """An error that the program can tell.

    Attributes:
        module: the file that tells it.
        what: the sentence; ``...`` stands for what differs.
        remedy: what to do, in the same way; empty where it is put together elsewhere.
    """

    module: str
    what: str
    remedy: str


def error_messages(root: Path) -> list[Message]:
    """The messages of all errors in the sources, read without running them."""
    found = []
    for package in ("miracle_core", "miracle_cli", "tui"):
        for file in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                name = getattr(node, "func", None)
                if isinstance(name, ast.Name) and name.id in RAISED:
                    what = _template(node.args[0]) if node.args else ""
                    given = {each.arg: each.value for each in node.keywords}
                    remedy = _template(given["remedy"]) if "remedy" in given else ""
                    if what:
                        found.append(Message(file.relative_to(root).as_posix(), what, remedy))
    return found


def _template(node: ast.expr) -> str:
    """A text with ``...`` for its parts that only a run can know; empty if it has no others."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        parts = [each.value if isinstance(each, ast.Constant) else "..." for each in node.values]
        return "".join(map(str, parts))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return f"{_template(node.left) or '...'}{_template(node.right) or '...'}"
    return ""


def messages() -> str:
    """Every error message, by the folder whose code tells it."""
    lines = ["# Messages", "", NOTE]
    lines += ["What the program says when it refuses something or fails, and what to do. `...` is"]
    lines += [
        "what differs. [troubleshooting.md](../troubleshooting.md) explains some of them.",
        "",
    ]
    folders: dict[str, dict[str, str]] = {}
    for each in error_messages(Path(__file__).resolve().parent.parent):
        folder = "/".join(each.module.removesuffix(".py").split("/")[:2])
        folders.setdefault(folder, {}).setdefault(each.what, each.remedy)
    for folder, rows in sorted(folders.items()):
        lines += [f"## `{folder}`", "", "| message | what to do |", "|---|---|"]
        lines += [f"| {escaped(what)} | {escaped(remedy)} |" for what, remedy in rows.items()]
        lines.append("")
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "settings.md": settings,
    "api.md": api,
    "messages.md": messages,
}


def write(folder: Path) -> None:
    """Write the pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page() + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
