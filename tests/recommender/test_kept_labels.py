"""Capsule labels that are saved in a run folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from miracle_core.recommender import Recommender, kept_labels
from miracle_core.recommender.capsule_map import CapsuleMap
from miracle_core.recommender.kept_labels import FILE
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.tensors import load_tensors, save_tensors


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    (folder / FILE).unlink(missing_ok=True)
    return folder


def labels(run: Path) -> list[str]:
    recommender = Recommender.load(run)
    return [recommender.label(capsule) for capsule in range(recommender.n_capsules)]


def test_the_second_time_the_catalogue_is_not_passed(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Recommender.load(run).recommend([1, 2, 3], 5)
    made = [summary.label for summary in Recommender.load(run).capsules()]
    assert orjson.loads((run / FILE).read_bytes())["labels"] == made

    def never(*_: object) -> None:
        raise AssertionError("the catalogue was passed again")

    monkeypatch.setattr(CapsuleMap, "__init__", never)
    again = Recommender.load(run).recommend([1, 2, 3], 5)
    assert [each.label for each in again.capsules] == [each.label for each in first.capsules]
    assert labels(run) == made


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{}", b'{"key": 1}', b"\xff\xfe", b'{"key": "KEY", "labels": [1]}']
)
def test_a_damaged_file_counts_as_absent(run: Path, content: bytes) -> None:
    made = labels(run)
    key = orjson.loads((run / FILE).read_bytes())["key"]
    (run / FILE).write_bytes(content.replace(b"KEY", key.encode()))
    assert labels(run) == made
    assert orjson.loads((run / FILE).read_bytes()) == {"key": key, "labels": made}


def test_other_weights_make_their_own(run: Path) -> None:
    made = labels(run)
    lies = {"key": orjson.loads((run / FILE).read_bytes())["key"], "labels": ["x"] * len(made)}
    (run / FILE).write_bytes(orjson.dumps(lies))
    assert labels(run) == lies["labels"]
    weights = RunFolder(run).path / "model.safetensors"
    tensors, metadata = load_tensors(weights)
    save_tensors(weights, {name: 1.5 * t for name, t in tensors.items()}, metadata)
    assert "x" not in labels(run)


def test_another_wording_makes_its_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A development checkout may word labels differently without a new version."""
    made = labels(run)
    lies = {"key": orjson.loads((run / FILE).read_bytes())["key"], "labels": ["x"] * len(made)}
    (run / FILE).write_bytes(orjson.dumps(lies))
    assert labels(run) == lies["labels"]
    monkeypatch.setattr(kept_labels, "WORDING", kept_labels.WORDING + 1)
    assert labels(run) == made


def test_the_number_of_the_wording(run: Path) -> None:
    """Run folders keep labels. If a model's labels change, ``WORDING`` must be increased."""
    worded = [
        "[bold red]Not markup[/bold red]",
        "filament · pla · machine",
        "screw · steel · machine",
        "Washer Steel M4",
        "driver · screw",
        "free · nitrile · powder",
        "nozzle · printer",
    ]
    assert (kept_labels.WORDING, labels(run)) == (1, worded)


def test_a_run_that_can_not_be_written_to_answers(run: Path) -> None:
    """root can write any file, so use a folder in its place."""
    made = labels(run)
    (run / FILE).unlink()
    (run / FILE).mkdir()
    assert labels(run) == made


def test_the_collector_runs_again_after_an_import() -> None:
    code = (
        "import gc, miracle_core\n"
        "assert 'torch' not in __import__('sys').modules\n"
        "miracle_core.Recommender\n"
        "assert gc.isenabled()\n"
        "try: miracle_core.nothing\n"
        "except AttributeError: assert gc.isenabled()\n"
        "gc.disable(); miracle_core.train; assert not gc.isenabled()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
