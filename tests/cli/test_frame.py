"""The command line itself: help, errors, interruption and output."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType

import orjson
import pytest
import typer

from miracle_cli import main as frame
from miracle_cli.main import COMMANDS, main
from miracle_cli.output import bar, plain, print_fields, print_json, print_table
from miracle_cli.progress import RichProgress
from miracle_core.errors import InputError, MiracleError
from miracle_core.progress import stage
from miracle_core.version import __version__

Install = Callable[[Callable[[], object]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Register a function as the command ``try``."""

    def add(function: Callable[[], object]) -> None:
        module = ModuleType("tried")
        module.app = typer.Typer(add_completion=False, rich_markup_mode=None)  # type: ignore[attr-defined]

        @module.app.command()
        def tried() -> None:
            function()

        monkeypatch.setitem(sys.modules, "tried", module)
        monkeypatch.setattr(frame, "COMMANDS", {**COMMANDS, "try": ("tried", "Try it.")})

    return add


def throwing(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


def test_help_lists_every_command_and_imports_none() -> None:
    program = (
        "import sys; from miracle_cli.main import main; code = main(['--help']);"
        "print(code, *sorted(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    code, *modules = ran.stderr.split()
    assert code == "0"
    heavy = {"torch", "polars", "numpy", "pyarrow", "pydantic", "rich", "sklearn", "transformers"}
    heavy |= {"pandas"}
    assert not heavy & set(modules)
    commands = {module for module, _ in COMMANDS.values()}
    assert not commands & set(modules)
    for name, (_, text) in COMMANDS.items():
        line = next(line for line in ran.stdout.splitlines() if line.startswith(f"  {name} "))
        assert text[:20] in line


def test_help_is_quick() -> None:
    def seconds() -> float:
        # Measure processor time, so that a busy machine does not matter.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "miracle_cli", "--help"], capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("name", [*COMMANDS, "eval", "data show", "data verify", "data export"])
def test_every_command_explains_itself(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*name.split(), option]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: miracle {name}" in shown
    assert "-h, --help" in shown


def test_h_is_the_help_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert main(["-h"]) == 0
    assert capsys.readouterr().out == shown
    assert "--install-completion" in shown


def test_a_shells_completion_can_be_shown(capfd: pytest.CaptureFixture[str]) -> None:
    # Typer can't detect a shell in the test runner.
    run = [sys.executable, "-m", "miracle_cli", "--show-completion", "bash"]
    detect = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    subprocess.run(run, env={**os.environ, **detect}, check=True)
    assert "_MIRACLE_COMPLETE=complete_bash" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("miracle ", [*COMMANDS]),
        ("miracle rec", ["recommend"]),
        ("miracle data ", ["show", "verify", "export"]),
        ("miracle recommend run --t", ["--title", "--top-k"]),
        ("miracle recommend run --title x --it", ["--item"]),
        ("miracle recommend run --item x --title ", []),
    ],
)
def test_a_shell_completes_commands_and_options(words: str, offered: list[str]) -> None:
    program = (
        "import sys; from miracle_cli.main import main\n"
        "try: main([])\n"
        "finally: print(*sorted(sys.modules), file=sys.stderr)"
    )
    asked = {
        "_MIRACLE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == offered
    assert not {"torch", "polars"} & set(ran.stderr.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"miracle {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "Usage: miracle"),
        (["preproces"], "Did you mean 'preprocess'?"),
        (["data", "show"], "Missing argument"),
        (["preprocess", "x", "--format", "table", "--out", "y", "--k-core", "few"], "--k-core"),
        (["--wrong"], "--wrong"),
    ],
)
def test_usage_errors(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert what in err + out
    assert "Traceback" not in err


def test_an_input_error_is_three_lines(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(throwing(InputError("is \x1b[31mred", where="file.csv:3", remedy="paint [bold]it")))
    assert main(["try"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: is  [31mred\nwhere: file.csv:3\nfix:   paint [bold]it\n"


def test_a_failed_run(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(throwing(MiracleError("the loss is not a number")))
    assert main(["try"]) == 1
    assert capsys.readouterr().err == "error: the loss is not a number\n"


@pytest.mark.parametrize("arguments", [["--debug", "try"], ["try", "--debug"]])
def test_debug_shows_where(
    arguments: list[str], install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(throwing(InputError("is wrong")))
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "error: is wrong" in err


def test_a_bug_is_one_line_and_a_way_on(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(throwing(KeyError("x")))
    assert main(["try"]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[0] == "error: a bug: KeyError: 'x'"
    assert "run again with --debug" in err
    assert "Traceback" not in err


def test_a_full_disk_is_no_bug(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(throwing(OSError(28, "No space left on device", "/data/x")))
    assert main(["try"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: the disk is full: No space left on device",
        "where: /data/x",
        "fix:   make room on that disk (or in the quota), then run the command again",
    ]
    install(throwing(RuntimeError("Error in fwrite: No space left on device")))  # as in libraries
    assert main(["try"]) == 1
    assert "error: the disk is full" in capsys.readouterr().err


def test_too_little_memory_is_no_bug(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(throwing(MemoryError("Unable to allocate 7 TiB")))
    assert main(["try"]) == 1
    err = capsys.readouterr().err
    assert "not enough memory" in err
    assert "a bug" not in err


def test_a_library_that_is_missing_or_damaged_is_no_bug(
    install: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A required library is recognised by its name, or by where the error comes from."""

    def damaged(text: str) -> Callable[[], object]:
        (tmp_path / "faiss.py").write_text(text)
        monkeypatch.delitem(sys.modules, "faiss", raising=False)
        invalidate_caches()
        return lambda: import_module("faiss")

    monkeypatch.syspath_prepend(tmp_path)
    for broken in (
        throwing(ModuleNotFoundError("No module named 'polars'", name="polars")),
        throwing(ImportError("DLL load failed", name="torch._C")),
        damaged("raise ImportError('libfaiss.so: cannot open')"),
        damaged("import no_such_module_of_its_own"),
    ):
        install(broken)
        assert main(["try"]) == 1
        err = capsys.readouterr().err
        assert "error: the installation is not whole: " in err and "miracle doctor" in err


def test_a_wrong_import_of_ours_or_of_a_users_system_is_a_bug(
    install: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own_system.py").write_text("import torch\nimport no_such_library\n")
    (tmp_path / "own_name.py").write_text("from miracle_core.errors import no_such_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module, said in (
        ("own_system", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("own_name", "ImportError: cannot import name 'no_such_name'"),
    ):
        install(lambda module=module: import_module(module))  # type: ignore[misc]
        assert main(["try"]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"error: a bug: {said}") and "--debug" in err


def test_interrupted(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(throwing(KeyboardInterrupt()))
    assert main(["try"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_command_may_choose_its_exit_code(install: Install) -> None:
    install(throwing(typer.Exit(1)))
    assert main(["try"]) == 1


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = (
        "import sys, typer; from types import ModuleType; from miracle_cli import main as frame;"
        "module = ModuleType('tried'); module.app = typer.Typer();"
        "module.app.command()(lambda: [sys.stdout.write('x' * 9999 + '\\n') for _ in range(999)]);"
        "sys.modules['tried'] = module; frame.COMMANDS['try'] = ('tried', '');"
        "sys.exit(frame.main(['try']))"
    )
    ran = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert ran.stdout is not None
    assert ran.stderr is not None
    ran.stdout.read(10)
    ran.stdout.close()
    assert ran.stderr.read() == b""
    assert ran.wait() == 1
    ran.stderr.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Lamp, 5 €, naïve", "Lamp, 5 €, naïve"),
        ("a\x1b[2Jb\nc\td\u2028e\x9bf", "a [2Jb c d e f"),
        ("gpj.\u202eexe\u2066\u200b\ufeff", "gpj.exe"),
        ("न\u200dम", "न\u200dम"),
        (12, "12"),
    ],
)
def test_text_that_is_safe_to_show(text: object, shown: str) -> None:
    assert plain(text) == shown


def test_tables_show_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        ["title", "users"],
        [["[red]Lamp[/red] :smile: \x1b[31m", 12345], ["b", 7]],
        title="[bold]All[/bold]",
    )
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "[bold]All[/bold]" in lines
    assert any(line.split() == ["[red]Lamp[/red]", ":smile:", "[31m", "12,345"] for line in lines)
    assert any(line.startswith("b ") and line.endswith(" 7") for line in lines)


def test_fields(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"users": 12345, "density": 0.0016053, "name": "a\nb"}, title="Shop")
    assert capsys.readouterr().out == "Shop\nusers    12,345\ndensity  0.001605\nname     a b\n"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1, None, "é"]})
    assert orjson.loads(capsys.readouterr().out) == {"a": [1, None, "é"]}


def test_bars() -> None:
    assert bar(0) == ""
    assert bar(1e-9) == "▏"
    assert bar(0.5, 4) == "██"
    assert bar(1, 4) == "████"
    assert len(bar(0.99, 30)) <= 30


def test_progress_in_a_log_is_a_line_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    progress = RichProgress()
    with stage(progress, "reading \x1b[31mshop.csv", 1200, "rows"):
        progress.advance(600)
    with stage(progress, "writing"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "reading  [31mshop.csv (1,200 rows)\nwriting\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    progress = RichProgress()
    with pytest.raises(ValueError, match="x"), stage(progress, "outer [red]stage[/red]"):
        with stage(progress, "reading", 4, "rows"):
            progress.advance(4)
        with stage(progress, "counting", unit="rows"):  # the total is unknown
            progress.advance(1500)
        raise ValueError("x")
    shown = terminal.getvalue()
    assert "outer [red]stage[/red]" in shown
    assert "4/4 rows" in shown
    assert "1,500 rows" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor is shown again
