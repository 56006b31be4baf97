"""The benchmarks: all are run, each runs alone, and timing is fair."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as every
from benchmarks import harness, pairs
from benchmarks.__main__ import SHARED, index_rows, numbers, scaling_rows, scripts
from benchmarks.scaling import SWEEPS, plot, problem_of

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def sweeps() -> dict[str, list[dict[str, Any]]]:
    usual = {"length": 20, "capsules": 32, "batch": 256}
    return {
        name: [
            {**usual, name: value, "ours_seconds": 0.1 * value, "dense_seconds": dense}
            for value, dense in zip(values, (1.0, 2.0, 3.0, 4.0, None), strict=True)
        ]
        for name, values in SWEEPS.items()
    }


def test_every_script_is_run_once_and_is_there() -> None:
    names = scripts()
    assert len(names) == len(set(names))
    assert set(names) == {path.stem for path in FOLDER.glob("*.py")} - SHARED
    assert "--json" in (FOLDER / f"{names[-1]}.py").read_text()


def test_a_benchmark_that_fails_is_named_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = {"text": None, "tea": {"cups": 3, "heat": 71.25, "kind": "green"}}
    monkeypatch.setattr(every, "scripts", lambda: list(results))
    monkeypatch.setattr(every, "run", lambda name, settings: (results[name], 1.0))
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    assert every.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert "  text (1 s)  FAILED" in lines
    assert [line.split() for line in lines[-2:]] == [["cups", "3"], ["heat", "71.25"]]


def test_json_is_what_the_table_is_made_of(tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="the extra faiss is not installed")
    command = [sys.executable, str(FOLDER / "index.py"), "--json", "--items", "1500"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    ((label, value),) = index_rows(json.loads(done.stdout))
    assert label == "1,500 items, Flat"
    assert value.startswith("recall@100 1.000, ")


def test_rows_of_numbers_and_curves() -> None:
    shown = list(numbers(floor_ratio="{:.2f}", whole="{}")({"floor_ratio": 1.5, "whole": []}))
    assert shown == [("floor ratio", "1.50"), ("whole", "[]")]
    rows = dict(scaling_rows({"sweeps": sweeps()}))
    assert rows["batch 64"] == "6.400 s (dense 1.000 s)"
    assert rows["capsules 128"] == "12.800 s (dense not run)"


def test_actions_are_taken_in_turn_and_timed_by_the_clock_given() -> None:
    taken: list[str] = []
    now = iter(range(0, 800, 10))
    seconds = harness.alternate(
        2,
        clock=lambda: float(next(now)),
        a=lambda: taken.append("a"),
        b=lambda: taken.append("b"),
    )
    assert taken == ["a", "b"] * 3
    assert seconds == {"a": [10.0, 10.0], "b": [10.0, 10.0]}


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706), (3, 4.303), (20, 2.093), (60, 2.001)])
def test_few_pairs_say_little(n: int, quantile: float) -> None:
    """The confidence interval of a mean by Student's t, with quantiles from printed tables."""
    logs = [0.1 if i % 2 else -0.1 for i in range(n)]
    middle, low, high = pairs.interval([math.exp(each) for each in logs])
    half = quantile * statistics.stdev(logs) / math.sqrt(n)
    assert math.log(middle) == pytest.approx(statistics.fmean(logs))
    assert math.log(low) == pytest.approx(statistics.fmean(logs) - half, rel=1e-3)
    assert math.log(high) == pytest.approx(statistics.fmean(logs) + half, rel=1e-3)


def test_a_single_pair_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pairs", "x", "--data", "d", "--run", "r", "--pairs", "1"])
    with pytest.raises(SystemExit) as caught:
        pairs.main()
    assert caught.value.code == 2
    assert "two pairs or more" in capsys.readouterr().err


def test_histories_of_the_scaling_problem() -> None:
    p = problem_of(10, 40)
    assert p.valid.sum() == p.packed.n_tokens
    assert p.valid.shape == (40, 10)
    assert {length for length, _ in p.packed.groups} <= set(range(1, 11))
    # The packed and the padded histories hold the same items.
    assert p.items[p.valid].tolist() == p.packed.items.tolist()


def test_equal_figures_draw_equal_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    first, second = tmp_path / "1.svg", tmp_path / "2.svg"
    plot(first, sweeps())
    plot(second, sweeps())
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes()) < 60_000
    assert "longest history" in first.read_text()
