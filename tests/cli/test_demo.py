"""``miracle demo``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from miracle_cli.main import main
from miracle_core import demo as core
from tests.support.demos import SIZES, small_settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def shrunken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real command on a smaller shop and network."""
    whole = core.demo

    def small(out: Path, **options: Any) -> core.Demo:
        return whole(out, **{**options, **SIZES})

    monkeypatch.setattr(core, "demo", small)
    monkeypatch.setattr(core, "demo_settings", lambda out, seed: small_settings(out))


def test_json_is_one_document(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "de mo"
    assert main(["demo", "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    shown = json.loads(said.out)
    metrics = {f"{name}@{k}" for name in ("recall", "ndcg", "mrr") for k in (10, 50)}
    assert metrics == set(shown["metrics"]) == set(shown["popularity"]) == set(shown["chance"])
    assert shown["metrics"]["recall@10"] > shown["popularity"]["recall@10"]
    assert set(shown["recovery"]) == {
        "items",
        "adjusted_mutual_information",
        "same_interest",
        "different_interest",
    }
    assert (shown["data"], shown["run"]) == (str(out / "data"), str(out / "run"))
    assert (shown["shop"], shown["seed"], shown["split"]) == ("workshop", 0, "test")
    assert shown["seconds"] > 0
    (recommended,) = shown["recommendations"]
    assert [own["typed"] for own in recommended["history"]] == list(core.TITLES)
    assert len(recommended["items"]) == core.TOP_K
    # The separate commands give the same figures for the run that the demo leaves.
    assert main(["evaluate", shown["run"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == shown["metrics"]
    typed = [f"--title={title}" for title in core.TITLES]
    assert main(["recommend", shown["run"], *typed, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == recommended


def test_the_report_ends_with_commands_that_work(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "de mo"
    assert main(["demo", "--out", str(out)]) == 0
    said = capsys.readouterr()
    report, _, commands = said.out.partition("Commands to try next")
    for part in ("recall@10", "popularity", "chance", "adjusted mutual information", "strength"):
        assert part in report
    for title in core.TITLES:
        assert title in report
    assert "seconds in all" in said.err
    lines = [shlex.split(line) for line in commands.strip().splitlines()]
    assert {"recommend", "inspect", "evaluate", "finetune"} <= {line[1] for line in lines}
    for program, command, *arguments in lines:
        assert program.endswith("miracle")
        if command in ("recommend", "inspect", "evaluate"):
            assert main([command, *arguments, "--json"]) == 0
            json.loads(capsys.readouterr().out)


def test_a_foreign_folder_is_refused_before_anything_is_done(
    tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "no earlier demo" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_negative_seed_is_a_usage_error(tmp_path: Path, capsys: Capture) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--seed", "-1"]) == 2
    assert "--seed" in capsys.readouterr().err
