"""Run the scripts of exports where this package can't be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# An import finder that refuses this package, installed before the script runs. The script runs
# once per argument, or once with all of them.
ALONE = (
    "import runpy, sys\n"
    "class No:\n"
    "    def find_spec(self, name, *_):\n"
    "        if name.split('.')[0] in ('miracle_core', 'miracle_cli', 'torch', 'polars'):\n"
    "            raise ImportError(name)\n"
    "sys.meta_path.insert(0, No())\n"
    "path, how, *words = sys.argv[1:]\n"
    "for own in [words] if how == 'together' else [[word] for word in words]:\n"
    "    sys.argv[1:] = own\n"
    "    print('#', *own)\n"
    "    runpy.run_path(path, run_name='__main__')\n"
)
Lists = dict[str, list[tuple[str, float]]]


def run(folder: Path, how: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``use.py`` in a process that can't import this package."""
    return subprocess.run(
        [sys.executable, "-c", ALONE, str(folder / "use.py"), how, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
    )


def used(folder: Path, *words: str, how: str = "each") -> Lists:
    """The output of ``use.py`` for each word, or for all of them together."""
    done = run(folder, how, *words)
    assert done.returncode == 0, done.stderr
    found: Lists = {}
    name = ""
    for line in done.stdout.splitlines():
        if line.startswith("# "):
            name = line[2:]
            found[name] = []
        elif "\t" in line:
            item, score = line.split("\t")
            found[name].append((item, float(score)))
    return found
