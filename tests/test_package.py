"""The installed package: built from the source archive, and run outside the checkout."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tarfile
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.stand_ins import stand_ins
from tests.support.terminal import PseudoTerminal

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("miracle_core", "miracle_cli", "tui")
SHOW = "import miracle_core, miracle_cli, tui; print(miracle_core.__file__, miracle_cli.__file__)"


def call(*words: str | Path, cwd: Path, path: str) -> str:
    """Run a program and return its output; on failure its errors are shown."""
    done = subprocess.run(
        [*map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of(package: Path) -> set[str]:
    return {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed")
def test_the_package_runs_outside_the_checkout(tmp_path: Path) -> None:
    dist, library, away = (tmp_path / name for name in ("dist", "library", "away"))
    away.mkdir()
    here = os.environ.get("PYTHONPATH", "")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    call(
        *[sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", dist],
        cwd=ROOT,
        path=here,
    )
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("miracle_rec-*")
    for name in ("LICENSE", "README.md", "pyproject.toml", "requirements/constraints.txt"):
        assert (source / name).is_file()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", dist]
    call(*build, cwd=source, path=here)
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened_wheel:
        top = {name.partition("/")[0] for name in opened_wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)
    call(*pip, "install", "--no-deps", "--no-index", "--target", library, wheel, cwd=away, path="")

    # Every data file of the checkout: data sets, experiments, styles, templates, py.typed.
    for package in PACKAGES:
        assert files_of(library / package) == files_of(ROOT / package)
        assert (library / package / "py.typed").is_file()

    path = str(library)
    python = (sys.executable, "-P")
    assert str(ROOT) not in call(*python, "-c", SHOW, cwd=away, path=path)
    miracle = (*python, library / "bin" / "miracle")
    assert "Usage: miracle" in call(*miracle, "--help", cwd=away, path=path)
    assert "--seed" in call(*miracle, "demo", "--help", cwd=away, path=path)
    models = json.loads(call(*miracle, "models", "--json", cwd=away, path=path))
    assert "miracle" in {each["name"] for each in models["systems"]}
    assert "table2" in call(*miracle, "experiment", cwd=away, path=path)
    stubs = stand_ins(tmp_path / "stand-ins")
    for module in ("typer", "rich", "orjson", "pydantic"):
        (stubs / f"{module}.py").unlink()
    found = json.loads(
        call(*miracle, "doctor", "--json", cwd=away, path=os.pathsep.join([path, str(stubs)]))
    )
    assert str(library) in found["program"][0]["found"]
    assert found["ok"]

    explorer = PseudoTerminal([*map(str, miracle), "tui"], away, library)
    try:
        explorer.read_until(b"No run was found")
        explorer.type(b"\x11")  # Ctrl-Q
        explorer.read_until(None)
        assert explorer.status() == 0
    finally:
        explorer.close()


def test_type_checkers_see_the_defaults_of_rules() -> None:
    """Without pydantic's plugin, they only recognise a default given as ``default=``."""
    source = (ROOT / "miracle_core" / "ranking" / "rules.py").read_text(encoding="utf-8")
    fields = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Field"
    ]
    assert fields
    assert not [node.lineno for node in fields if node.args]


def test_our_own_deprecations_are_errors() -> None:
    """As pytest's settings demand: by the module that a warning is about."""
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        for module in ("miracle_core.data", "miracle_cli", "tui.app"):
            with pytest.raises(category):
                warnings.warn_explicit("old", category, "x.py", 1, module=module)
        with pytest.warns(category):
            warnings.warn_explicit("old", category, "x.py", 1, module="a_library")
