"""Two small shops, and a finished experiment on one of them, shared by the tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from miracle_core.experiments.definition import read_experiment
from miracle_core.experiments.making import make_plan
from miracle_core.experiments.whole import conduct
from tests.support.experiments import demo_shops, tiny


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of two shops. Treat as read-only."""
    folder = tmp_path_factory.mktemp("shops")
    demo_shops(folder, "workshop", "kitchen")
    return folder


@pytest.fixture(scope="session")
def done(shops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished experiment: ``tiny.toml`` and its folder ``out``. Treat as read-only."""
    folder = tmp_path_factory.mktemp("done")
    tiny(folder)
    conduct(make_plan(read_experiment(str(folder / "tiny.toml")), [shops / "workshop"]),
            folder / "out")  # fmt: skip
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """A copy of the finished experiment."""
    shutil.copytree(done, tmp_path / "copy")
    return tmp_path / "copy"
