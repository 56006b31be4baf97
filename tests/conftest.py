"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets named by MIRACLE_REAL_DATA."""
    name = os.environ.get("MIRACLE_REAL_DATA")
    if not name:
        pytest.skip("MIRACLE_REAL_DATA names no folder of public data sets")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"MIRACLE_REAL_DATA={name} is not a folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with random weights (see ``tests/support/runs.py``). Treat as read-only."""
    from tests.support.runs import tiny_run

    return tiny_run(tmp_path_factory.mktemp("small"))
