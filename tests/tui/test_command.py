"""``miracle tui``: what it refuses before a screen is drawn, and what it passes to windows."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from miracle_cli.main import main
from miracle_core.errors import InputError
from miracle_core.ranking.rules import Rules
from tui.on_disk import Source
from tui.web import serve

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def pretrained_run(tmp_path: Path) -> Path:
    """The parts of a pre-trained run that the command looks at."""
    run = tmp_path / "pre"
    run.mkdir()
    (run / "config.toml").write_text('datasets = ["/data/a"]\n[train]\n')
    return run


def test_a_pretrained_run_needs_a_dataset(pretrained_run: Path, capsys: Capture) -> None:
    assert main(["tui", str(pretrained_run)]) == 2
    told = capsys.readouterr().err
    assert "is a pre-trained run: it has no Dataset of its own" in told and "--data DATA" in told


def test_data_has_to_be_a_dataset_and_to_come_with_a_run(
    pretrained_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    for wrong in (tmp_path, tmp_path / "nowhere"):
        assert main(["tui", str(pretrained_run), "--data", str(wrong)]) == 2
        told = capsys.readouterr().err
        assert "is not a Dataset (it has no manifest.json)" in told
        assert f"--data {wrong}" in told.replace("\n", "")
    assert main(["tui", "--data", str(tmp_path)]) == 2
    assert "needs a run" in capsys.readouterr().err


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that a server would start for its windows."""
    started: list[str] = []

    class Server:
        def __init__(self, command: str, access: object) -> None:
            started.append(command)

        def run(self, listening: Callable[[], None]) -> None:
            pass

    monkeypatch.setattr("tui.web.ExplorerServer", Server)
    return started


def test_every_window_of_a_browser_reads_the_same_dataset(
    commands: list[str], tmp_path: Path
) -> None:
    serve(Source(tmp_path / "run", tmp_path / "da ta"), "127.0.0.1", 8000, lambda _: None)
    serve(None, "127.0.0.1", 8000, lambda _: None)
    assert commands[0].endswith(f"tui {tmp_path / 'run'} --data '{tmp_path / 'da ta'}'")
    assert commands[1].endswith("-m miracle_cli tui")


def test_every_window_of_a_browser_has_the_same_rules(
    commands: list[str], small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window's command line recreates the rules, in any working folder."""
    (tmp_path / "sold out.txt").write_text("I00\nI01\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("miracle_cli.tui._check_rules", lambda *_: None)  # no item has a brand
    asked = ["--deny", "sold out.txt", "--where", "brand=it's", "--mute", "2", "--boost", "1=-0.5"]
    asked += ["--min-strength", "0.1", "--quota", "1"]
    assert main(["tui", str(small_run), "--web", *asked]) == 0
    opened: list[Rules] = []

    def explorer(source: Source | None, **_: object) -> None:
        assert source is not None and source.rules is not None
        opened.append(source.rules)
        raise InputError("enough")

    monkeypatch.chdir(small_run)
    monkeypatch.setattr("tui.terminal.require_terminal", lambda: None)
    monkeypatch.setattr("tui.app.ExplorerApp", explorer)
    _, _, _, *words = shlex.split(commands[0])
    main(words)
    assert opened == [
        Rules(
            deny=("I00", "I01"),
            where={"brand": ("it's",)},
            mute=(2,),
            boost={1: -0.5},
            min_strength=0.1,
            quota=1,
        )
    ]


@pytest.fixture
def explorers(monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """The sources that explorers were opened for; no screen is drawn."""
    opened: list[Source] = []

    def explorer(source: Source, **_: object) -> None:
        opened.append(source)
        raise InputError("enough")

    monkeypatch.setattr("tui.terminal.require_terminal", lambda: None)
    monkeypatch.setattr("tui.app.ExplorerApp", explorer)
    return opened


@pytest.mark.parametrize("web", [[], ["--web"]])
@pytest.mark.parametrize(
    ("rules", "what"),
    [
        (["--deny", "all.txt"], "the rules leave none of the 30 items"),
        (["--allow", "none.txt"], "none of its 1 ids is in the catalogue"),
        ([word for n in range(7) for word in ("--mute", str(n))], "every interest is muted"),
        (["--mute", "99"], "there is no capsule 99"),
        (["--min-strength", "1"], "must be below 1"),
        (["--where", "brand=x"], "no item of tiny has an attribute 'brand'"),
    ],
)
def test_rules_that_leave_nothing_are_refused_before_a_screen_is_drawn(
    explorers: list[Source],
    commands: list[str],
    small_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    rules: list[str],
    what: str,
    web: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("all.txt").write_text("\n".join(f"I{n:02}" for n in range(30)))
    Path("none.txt").write_text("another shop's\n")
    assert main(["tui", str(small_run), *rules, *web]) == 2
    told = capsys.readouterr().err
    assert what in told and rules[0] in told.partition("where: ")[2]
    assert not explorers and not commands


def test_a_run_that_has_no_weights_yet_is_opened_with_rules(
    explorers: list[Source], pretrained_run: Path, capsys: Capture
) -> None:
    """The explorer shows what it waits for, and tries again."""
    (pretrained_run / "config.toml").write_text('data = "/data/a"\n[train]\n')
    main(["tui", str(pretrained_run), "--mute", "1"])
    assert "enough" in capsys.readouterr().err
    assert len(explorers) == 1 and explorers[0].rules == Rules(mute=(1,))


def test_rules_need_a_run(capsys: Capture) -> None:
    assert main(["tui", "--mute", "1"]) == 2
    assert "rules are of one run" in capsys.readouterr().err
