"""Every registered system, and one from outside the package, fulfils the contract."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from miracle_cli.main import main
from miracle_core import registry
from miracle_core.check import check_system
from miracle_core.registry import SystemSpec
from miracle_core.systems.base import System
from tests.support import markov

# Settings that make a system small.
SMALL = {
    "bert4rec": {"width": 16, "layers": 1, "inner": 16, "dropout": 0.2},
    "fdsa": {"width": 16, "layers": 1, "inner": 16, "dropout": 0.2},
    "s3rec": {"width": 16, "layers": 1, "inner": 16, "dropout": 0.2},
    "mind": {"width": 16, "max_length": 9},
    "comirec": {"width": 16, "max_length": 9},
    "gru4rec": {"width": 16, "hidden": 16},
    "heads": {"width": 16, "experts": 2, "layers": 1, "inner": 16},
    "miracle": {"width": 16, "capsules": 4, "experts": 2, "layers": 1, "inner": 16},
    "sasrec": {"width": 16, "layers": 1, "inner": 16, "dropout": 0.2},
    "unisrec": {"width": 16, "experts": 2, "layers": 1, "inner": 16, "dropout": 0.2},
}


@pytest.fixture
def outside() -> Iterator[SystemSpec]:
    registry.register(markov.SPEC)
    yield markov.SPEC
    registry.unregister(markov.SPEC.name)


def broken(spec: SystemSpec, folder: Path) -> dict[str, str]:
    results = list(check_system(spec, folder, SMALL.get(spec.name)))
    assert len(results) >= 8
    return {check.name: str(error) for check, error in results if error is not None}


@pytest.mark.parametrize("spec", registry.systems(), ids=lambda spec: spec.name)
def test_a_system_keeps_the_contract(spec: SystemSpec, tmp_path: Path) -> None:
    assert broken(spec, tmp_path) == {}


def test_a_system_of_thirty_lines_from_outside_keeps_it(
    outside: SystemSpec, tmp_path: Path
) -> None:
    assert broken(outside, tmp_path) == {}


def test_the_missing_method_is_named(
    outside: SystemSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markov.Markov, "encode", System.encode)
    assert "Markov.encode is missing" in broken(outside, tmp_path)["builds"]


def test_scores_that_depend_on_the_batch_are_found(
    outside: SystemSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = markov.Markov.encode

    def mixed(self, tokens, packed):
        return whole(self, tokens + tokens.mean(0), packed)

    monkeypatch.setattr(markov.Markov, "encode", mixed)
    assert "depend on what else is in its batch" in broken(outside, tmp_path)["alone"]


def test_the_result_of_a_check_is_told_without_its_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import miracle_core.check as module

    done = SimpleNamespace(name="trains", says="A run ends.")
    monkeypatch.setattr(module, "check_system", lambda *_: iter([(done, None)] * 2))
    assert main(["check", "popularity", "--quiet"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("popularity  keeps the contract (2 checks)\n", "")


def test_check_on_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "miracle_cli", "check", "tests.support.markov:Markov", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["system"] == "markov"
    assert found["ok"]
