"""``miracle doctor`` on working and on broken installations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from miracle_core.doctor import examine, machine
from miracle_core.doctor import requirements as asked_for
from miracle_core.doctor.imports import try_imports
from miracle_core.doctor.libraries import extras, import_groups, installed, libraries
from miracle_core.doctor.requirements import Wanted, fits, wanted
from tests.support.stand_ins import MODULES, stand_ins

GPUS = {"build": "2.0", "threads": 2, "instructions": "AVX2", "cuda": [], "mps": False}


def doctor(stubs: Path, *options: str, **environment: str) -> tuple[int, str]:
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(stubs), str(root)])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "miracle_cli", "doctor", *options],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=stubs,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def named(found: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    (one,) = (each for each in found[group] if each["name"] == name)
    return one


def test_all_is_well(tmp_path: Path) -> None:
    code, out = doctor(stand_ins(tmp_path / "m"), "--json", MIRACLE_CACHE=str(tmp_path / "c"))
    found = json.loads(out)
    assert (code, found["ok"]) == (0, True), out
    torch = named(found, "libraries", "torch")
    assert torch["version"] == metadata.version("torch")
    assert torch["state"] == "ok"
    assert named(found, "devices", "processor")["threads"] == 3
    assert named(found, "devices", "cuda:0")["bytes"] == 8_000_000_000
    assert named(found, "disk", "cache")["path"] == str(tmp_path / "c")
    assert named(found, "memory", "memory")["total_bytes"] > 0
    assert {each["name"] for each in found["libraries"]} == {
        each.name for each in wanted() if each.extra is None
    }


def test_a_torch_that_does_not_load(tmp_path: Path) -> None:
    stubs = stand_ins(tmp_path / "m", torch="raise OSError('libtorch_cpu.so: cannot open')")
    code, out = doctor(stubs, "--json")
    found = json.loads(out)
    assert (code, found["ok"]) == (1, False)
    torch = named(found, "libraries", "torch")
    assert torch["state"] == "broken"
    assert "libtorch_cpu.so: cannot open" in torch["found"]
    assert torch["remedy"].startswith("pip install --force-reinstall 'torch")
    assert named(found, "devices", "GPU")["state"] == "warning"
    assert named(found, "libraries", "numpy")["state"] == "ok"


def test_nothing_of_what_the_program_needs_can_be_imported(tmp_path: Path) -> None:
    """Even the doctor itself must not need any of the required libraries."""
    damaged = dict.fromkeys(MODULES, "raise RuntimeError('damaged')")
    code, out = doctor(stand_ins(tmp_path / "m", **damaged))
    assert code == 1
    libraries_there = [each for each in wanted() if each.extra is None]
    assert out.count("RuntimeError: damaged") >= len(libraries_there) - 3
    assert out.splitlines()[-1].startswith("broken: ")
    code, out = doctor(tmp_path / "m", "--json")
    assert code == 1
    assert json.loads(out)["ok"] is False


def test_other_commands_point_to_the_doctor(tmp_path: Path) -> None:
    stubs = stand_ins(tmp_path / "m", typer="raise ImportError('no typer here')")
    done = subprocess.run(
        [sys.executable, "-m", "miracle_cli", "models"],
        env={**os.environ, "PYTHONPATH": str(stubs)},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: the installation is not whole: ImportError: no typer here",
        "fix:   miracle doctor says what to mend",
    ]


def test_through_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The command with --help; a plain call takes another way."""
    from miracle_cli.main import main

    assert main(["doctor", "--help"]) == 0
    assert "libraries, devices, encoders" in capsys.readouterr().out


def test_a_library_that_ends_the_process_is_named_and_the_rest_is_tried(tmp_path: Path) -> None:
    stubs = stand_ins(
        tmp_path / "m",
        numpy="import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        polars="import os; os._exit(3)",
        pandas="raise SystemExit(0)",
        orjson="print('miracle-doctor is what I print')",
    )
    _, out = doctor(stubs, "--json")
    found = json.loads(out)
    assert "signal 9" in named(found, "libraries", "numpy")["found"]
    assert "ended the program" in named(found, "libraries", "polars")["found"]
    assert "SystemExit" in named(found, "libraries", "pandas")["found"]
    assert named(found, "libraries", "orjson")["state"] == "ok"
    assert named(found, "libraries", "pyarrow")["state"] == "ok"
    assert named(found, "libraries", "torch")["state"] == "ok"


def test_a_library_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stubs = stand_ins(tmp_path / "m", numpy="import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(stubs))
    found = try_imports([["pandas", "numpy"]], patience=3.0)
    assert found["pandas"]["state"] == "works"
    assert "does not come to an end" in found["numpy"]["why"]


@pytest.mark.parametrize("place", ["", "text"])
def test_a_cache_that_can_not_be_used(tmp_path: Path, place: str) -> None:
    """root can read every folder, so use a file in place of a folder."""
    (tmp_path / "cache").write_text("a file")
    cache = str(tmp_path / "cache" / place)
    code, out = doctor(stand_ins(tmp_path / "m"), "--json", MIRACLE_CACHE=cache)
    found = json.loads(out)
    assert code == 1
    broken = named(found, "disk", "cache")
    assert broken["state"] == "broken"
    assert "MIRACLE_CACHE" in broken["remedy"]
    assert named(found, "disk", "temporary")["state"] == "ok"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_cache_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o000)
    monkeypatch.setenv("MIRACLE_CACHE", str(cache))
    assert machine.disks()[1].state == "broken"


def test_a_missing_extra_is_no_fault() -> None:
    """No package of this name is installed."""
    asked = [Wanted("numpy", ">=1", None), Wanted("miracle-absent", ">=2", "faiss")]
    assert import_groups(asked) == [["numpy"]]
    tried = {"numpy": {"state": "works"}}
    assert [each.state for each in libraries(asked, tried)] == ["ok"]
    (absent,) = extras(asked, tried)
    assert (absent.name, absent.state) == ("faiss", "missing")
    assert absent.found.startswith("miracle-absent is not installed; it is for: miracle index")
    assert absent.remedy == "pip install 'miracle-absent>=2'"


def test_a_missing_and_an_old_library_are_broken() -> None:
    asked = [Wanted("miracle-absent", ">=2", None), Wanted("numpy", ">=999", None)]
    absent, old = libraries(asked, {"numpy": {"state": "works"}})
    assert (absent.state, absent.remedy) == ("broken", "pip install 'miracle-absent>=2'")
    assert old.state == "broken"
    assert old.found == f"{metadata.version('numpy')}, but >=999 is needed"


def test_a_damaged_extra_is_a_warning() -> None:
    asked = [Wanted("numpy", ">=1", "faiss")]
    (found,) = extras(asked, {"numpy": {"state": "failed", "why": "OSError: no"}})
    assert found.state == "warning"
    assert found.found.startswith("numpy ")
    assert "OSError: no" in found.found


def test_little_room_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free", lambda folder: 5_000)
    monkeypatch.setattr(machine, "_memory", lambda: (8_000_000_000, 9_000))
    assert {each.state for each in machine.disks()} == {"warning"}
    assert machine.memory()[0].state == "warning"


def test_a_gpu_that_pytorch_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {"torch": {"state": "works", **GPUS}}
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    without = machine.devices(tried)[-1]
    assert without.state == "ok" or Path("/proc/driver/nvidia/version").exists()
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/bin/{name}")
    found = machine.devices(tried)[-1]
    assert found.state == "warning"
    assert "pytorch.org" in str(found.remedy)


def test_a_check_that_fails_itself_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[Wanted]:
        raise metadata.PackageNotFoundError("miracle-rec")

    monkeypatch.setattr("miracle_core.doctor.examination.wanted", fail)
    monkeypatch.setattr("miracle_core.doctor.examination.memory", lambda: 1 / 0)
    found = examine()
    assert not found.well
    assert found.groups["memory"][0].found == (
        "could not be looked at: ZeroDivisionError: division by zero"
    )
    assert [each.state for each in found.groups["libraries"]] == ["broken"]
    assert found.groups["disk"][2].state == "ok"


def test_the_wheels_metadata_says_the_same_as_the_checkout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lines in the format of a wheel's metadata."""
    lines = [
        "torch>=2.5",
        "faiss-cpu>=1.9; extra == 'faiss'",
        'optuna>=4; extra == "tune"',
        "ruff>=0.8; extra == 'dev'",
    ]
    monkeypatch.setattr(asked_for, "_checkout", lambda: None)
    monkeypatch.setattr(asked_for.metadata, "requires", lambda name: lines)
    assert wanted() == [
        Wanted("torch", ">=2.5", None),
        Wanted("faiss-cpu", ">=1.9", "faiss"),
        Wanted("optuna", ">=4", "tune"),
    ]


def test_ranges() -> None:
    assert fits("2.13.0+cpu", ">=2.5") is True
    assert fits("2.4", ">=2.5") is False


def test_every_module_of_the_table_is_there() -> None:
    """A distribution with another module name needs an entry in the table."""
    import importlib.util

    there = [each for each in wanted() if each.extra is None or installed(each) is not None]
    assert [each.module for each in there if importlib.util.find_spec(each.module) is None] == []


def test_what_each_extra_is_for_is_said() -> None:
    """A new extra needs an entry in EXTRAS."""
    import tomllib

    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    groups = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    assert set(groups) - {"dev", "docs"} == set(asked_for.EXTRAS)
