"""The direction of imports and the versions of dependencies, as pyproject.toml promises."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["importlinter"]["root_packages"]
LINT = "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, check=False
    )


def test_imports_run_one_way() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("miracle_core/errors.py", "import rich", "nothing of the command line"),
        ("miracle_core/data/dataset.py", "import miracle_core.text.load", "imports run one way"),
        ("miracle_core/registry.py", "import miracle_core.systems.scorer", "run one way"),
        ("miracle_core/ranking/walk.py", "import miracle_core.systems.base", "run one way"),
        ("miracle_core/runs/records.py", "import miracle_core.training", "run one way"),
        ("tui/__init__.py", "import miracle_core.systems.base", "only door to the model"),
        ("tui/__init__.py", "import miracle_core.runs.opening", "only door to the model"),
    ],
)
def test_a_breach_is_noticed(tmp_path: Path, file: str, line: str, contract: str) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert re.search(f"{contract}.* BROKEN", done.stdout), done.stdout


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names


def test_every_imported_library_is_declared() -> None:
    ours = {*PACKAGES, "benchmarks", "docs", "tests"}
    files = [file for folder in ours for file in (ROOT / folder).rglob("*.py")]
    names = set().union(*map(imported, files)) - ours - sys.stdlib_module_names
    declared = {canonicalize_name(requirement.name) for requirement in declared_requirements()}
    installed = packages_distributions()
    strangers = {
        name
        for name in names
        if not declared & {canonicalize_name(d) for d in installed.get(name, [])}
    }
    assert not strangers, f"imported, but not in pyproject.toml: {sorted(strangers)}"


def declared_requirements() -> list[Requirement]:
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for text in chain.from_iterable(groups)]


def test_every_dependency_has_an_exact_version_in_its_range() -> None:
    lines = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    exact = {}
    for line in lines:
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            exact[canonicalize_name(name)] = version
    # A local version suffix would tie the file to one particular build of torch.
    assert not [version for version in exact.values() if "+" in version]
    for requirement in declared_requirements():
        version = exact.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} has no exact version"
        assert requirement.specifier.contains(version, prereleases=True), str(requirement)
