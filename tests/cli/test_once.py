"""An option that takes one value is given once."""

from __future__ import annotations

import pytest

from miracle_cli.main import main


@pytest.mark.parametrize(
    "args",
    [
        ["recommend", "RUN", "--user", "a", "--user", "b"],
        ["recommend", "RUN", "--user", "a", "--user=a"],
        ["train", "--data", "a", "--model", "sasrec", "--data", "b"],
        ["data", "export", "DATA", "--out", "3", "--out", "4"],
        ["evaluate", "RUN", "--split", "test", "--split", "valid"],
    ],
)
def test_twice_is_refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    said = capsys.readouterr().err
    assert "is given twice, and takes one value" in said
    assert args[-2 if not args[-1].startswith("--") else -1].partition("=")[0] in said


@pytest.mark.parametrize(
    "args",
    [
        ["check", "popularity", "--set", "a=1", "--set", "a=2"],
        ["check", "popularity", "--set", "a=1", "--set", "model.a=1"],
        ["train", "--data", "x", "--out", "y", "--set", "model.width=1", "--set", "model.width=2"],
        ["train", "--data", "x", "--out", "y", "--epochs", "1", "--set", "train.epochs=2"],
        [
            "tune",
            "--trials",
            "1",
            "--model",
            "sasrec",
            "--data",
            "x",
            "--out",
            "y",
            "--set",
            "model.width=1",
            "--set",
            "model.width=2",
        ],
        [
            "update",
            "x",
            "--data",
            "x",
            "--out",
            "y",
            "--set",
            "train.epochs=1",
            "--set",
            "train.epochs=2",
        ],
    ],
)
def test_a_setting_is_given_once(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    said = capsys.readouterr().err
    assert "is given twice" in said and f"--set {args[-1]}" in said


def test_what_is_repeatable_and_flags_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["train", "--model", "sasrec", "--set", "model.width=8", "--set", "train.epochs=1"]
    assert main([*args, "--data", "nowhere", "--out", "x", "--json", "--json"]) == 2
    assert "given twice" not in capsys.readouterr().err
