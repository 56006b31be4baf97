"""``--quiet``, ``--log-file`` and shell completion."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from miracle_cli import verbosity
from miracle_cli.main import COMMANDS, SHORT, main
from tests.support.written import dataset

TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  ")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    dataset(tmp_path / "shop")
    return tmp_path / "shop"


def train(data: Path, *options: str) -> list[str]:
    out = str(data.with_name("run"))
    sizes = ["--set", "model.width=8", "--set", "model.heads=2", "--threads", "1", "--overwrite"]
    asked = ["train", "--data", str(data), "--model", "sasrec", "--epochs", "1", "--out", out]
    return [*asked, *sizes, *options]


def untimed(log: Path) -> list[str]:
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(TIME.match(line) for line in lines), lines
    return [TIME.sub("", line) for line in lines]


def test_quiet_tells_results_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(train(data)) == 0
    loud = capsys.readouterr()
    assert main(train(data, "-q")) == 0
    quiet = capsys.readouterr()
    assert "epoch 1/1" in loud.err
    assert quiet.err == ""
    assert re.sub(r"time .*", "", quiet.out) == re.sub(r"time .*", "", loud.out)


def test_json_is_the_same_with_both(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = data.with_name("log.txt")
    assert main(train(data, "--json")) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main(train(data, "--json", "--quiet", "--log-file", str(log))) == 0
    both = json.loads(capsys.readouterr().out)
    assert both["valid"] == plain["valid"]
    assert both.keys() == plain.keys()


def test_errors_are_told_in_quiet(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = data.with_name("log.txt")
    asked = ["evaluate", str(data / "none"), "-q", "--log-file", str(log)]
    assert main(asked) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    lines = untimed(log)
    assert lines[0].endswith(f"miracle {' '.join(asked)}")
    assert lines[1:-1] == err.splitlines()
    assert lines[-1].startswith("ended with code 2 after ")


def test_a_log_holds_what_is_told_and_goes_on(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = data.with_name("log.txt")
    for options in ([], ["-q"]):
        assert main(train(data, "--log-file", str(log), *options)) == 0
        err = capsys.readouterr().err
        if not options:
            loud = [line.rstrip() for line in err.splitlines()]
    lines = untimed(log)
    (second,) = (n for n, line in enumerate(lines) if n and line.startswith("miracle 0"))
    same = [line for line in loud if "examples/s" not in line and line]
    for part in (lines[:second], lines[second:]):
        assert [line for line in part[1:-1] if "examples/s" not in line and line] == same
        assert part[-1].startswith("ended with code 0")


def test_on_a_terminal_the_log_has_lines_where_the_display_moves(data: Path) -> None:
    """The display redraws itself, and none of that gets into the log."""
    log = data.with_name("log.txt")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "miracle_cli", *train(data, "--log-file", str(log))],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        timeout=120,
        check=False,
    )
    os.close(theirs)
    drawn = os.read(ours, 1 << 20)
    os.close(ours)
    assert done.returncode == 0
    assert b"\x1b[" in drawn
    text = "\n".join(untimed(log))
    assert "\x1b" not in text
    assert "epoch 1/1 (best so far): loss" in text
    assert "testing the best weights" in text


def test_text_of_data_writes_no_control_codes(tmp_path: Path) -> None:
    verbosity.start(["train"])
    verbosity.choose(False, tmp_path / "log")
    verbosity.log("a \x1b[31mred\x1b[0m title\nof two lines \u202e")
    verbosity.end(0)
    assert untimed(tmp_path / "log")[1:3] == ["a  [31mred [0m title", "of two lines"]


def test_a_log_that_can_not_be_written(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(train(data, "--log-file", str(data / "none" / "log"))) == 2
    assert "--log-file" in capsys.readouterr().err
    assert not data.with_name("run").exists()


def test_warnings_of_libraries_are_logged(tmp_path: Path) -> None:
    verbosity.start(["train"])
    before = warnings.showwarning
    verbosity.choose(False, tmp_path / "log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verbosity._now, "warn", None)
        warnings.showwarning("old", DeprecationWarning, "lib.py", 3)
    verbosity.end(0)
    warnings.showwarning = before
    assert untimed(tmp_path / "log")[1] == "DeprecationWarning: old (lib.py:3)"


def test_other_processes_of_a_training_leave_the_log_to_the_first(tmp_path: Path) -> None:
    verbosity.start(["train"], muted=True)
    verbosity.choose(False, tmp_path / "log")
    verbosity.log("twice")
    verbosity.unmute()
    verbosity.log("process 1: an error of its own")
    verbosity.end(1)
    assert untimed(tmp_path / "log")[0] == "process 1: an error of its own"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SHORT])
def test_every_long_command_takes_them(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--quiet" in shown
    assert "--log-file" in shown


def completed(*words: str) -> list[str]:
    """The completions that bash would offer for the last word."""
    done = subprocess.run(
        [sys.executable, "-m", "miracle_cli"],
        cwd=ROOT,
        env={
            **os.environ,
            "_MIRACLE_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["miracle", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


def test_completion_of_commands_and_options() -> None:
    assert completed("eva") == ["evaluate"]
    assert {"--quiet", "--log-file", "--users"} <= set(completed("recommend", "--"))


def test_completion_is_installed_into_a_home(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "miracle_cli", "--install-completion", "bash"],
        cwd=ROOT,
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
        },
        capture_output=True,
        timeout=60,
        check=True,
    )
    named = (tmp_path / ".bashrc").read_text().split("'")[1]
    assert "_MIRACLE_COMPLETE=complete_bash" in Path(named).read_text()


def test_the_script_for_a_shell_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "miracle_cli", "--show-completion", "bash"],
        cwd=ROOT,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "_MIRACLE_COMPLETE=complete_bash" in done.stdout
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True).returncode == 0
