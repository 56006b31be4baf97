"""Freed memory stays with the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from miracle_core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    for _ in range(4):
        parts = [torch.ones(3_000_000) for _ in range(16)]
        del parts

before = faults()
work()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is asked")
def test_memory_freed_once_is_not_fetched_again() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", COUNT, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    # The difference depends on the system's page size.
    assert faults("keep") < faults("leave")
