"""docs/ci.md: run the workflow's shell lines, from a raw file to a threshold that fails."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).parents[2] / "docs" / "ci.md"
GROUPS, SIZE = 4, 15  # kinds of items, and items per kind


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    text: str = found[0]
    return text


def sales() -> str:
    """A raw file: every customer buys products of one kind, in random order."""
    rng = random.Random(0)
    lines = ["customer,sku,day"]
    for customer in range(80):
        kind = customer % GROUPS
        for day, item in enumerate(rng.sample(range(SIZE), 8), 1):
            lines.append(f"c{customer},G{kind}-{item:02},2024-01-{day:02}")
    return "\n".join(lines) + "\n"


def shell(lines: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script like a CI runner: with bash, stopping at the first command that fails."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines],
        cwd=folder,
        env={**os.environ, "PATH": programs, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_from_a_raw_file_to_a_failing_threshold(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(sales())
    (tmp_path / "recipe.toml").write_text(block("toml"))
    job: dict[str, Any] = yaml.safe_load(block("yaml"))["jobs"]["quality"]
    steps = [step for step in job["steps"] if "run" in step]
    assert steps[0]["name"] == "Install"
    for step in steps[1:]:
        ran = shell(step["run"], tmp_path, job["env"])
        assert ran.returncode == 0, (step["name"], ran.stderr)
    assert ET.parse(tmp_path / "junit.xml").getroot().attrib["failures"] == "0"
    assert not list(tmp_path.glob("runs/*/test_looks.jsonl"))
    ran = shell(steps[-1]["run"], tmp_path, {"LEAST": "0.999"})
    assert ran.returncode == 1
    assert "fails: 2-finetune: recall@10 is 0." in ran.stderr
    assert "below the bound 0.999" in ran.stderr
    root = ET.parse(tmp_path / "junit.xml").getroot()
    assert root.attrib == {"tests": "2", "failures": "1", "errors": "0"}
