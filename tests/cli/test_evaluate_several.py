"""``miracle evaluate`` of several runs, and the checks that a pipeline can make."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from miracle_cli.main import main
from miracle_core.evaluation.evaluate_run import evaluate_run
from tests.support.runs import tiny_shop

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    data = tiny_shop(folder / "data").folder
    for kind in ("popularity", "random"):
        out = str(folder / kind)
        assert main(["train", "--model", kind, "--data", str(data), "--out", out]) == 0
    return folder


def test_one_table(runs: Path, capsys: Capture) -> None:
    both = [str(runs / "popularity"), str(runs / "random")]
    capsys.readouterr()
    assert main(["evaluate", *both]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.split()}
    for kind in ("popularity", "random"):
        metrics = evaluate_run(runs / kind).found.metrics.values()
        expected = [f"{value:.4f}" for value in metrics]
        if kind == "random":  # popularity is also a reference of the same name
            assert rows[kind][:-1] == [kind, *expected]
        assert " ".join(expected) in " ".join(out.split())
    assert "chance" in rows


def test_json_of_several(runs: Path, capsys: Capture) -> None:
    both = [str(runs / "popularity"), str(runs / "random")]
    assert main(["evaluate", *both, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["runs"]
    for path, own in zip(both, found["runs"], strict=True):
        assert own.pop("run") == path
        expected = evaluate_run(path).summary()
        assert {**own, "seconds": 0} == {**expected, "seconds": 0}


def test_a_bound_that_is_not_reached(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    run, junit = str(runs / "popularity"), tmp_path / "junit.xml"
    value = evaluate_run(run).found.metrics["recall@10"]
    low, high = f"--fail-under=recall@10={value / 2}", "--fail-under=recall@10=0.99"
    assert main(["evaluate", run, low]) == 0
    assert main(["evaluate", run, low, high, "--junit", str(junit), "--json"]) == 1
    said = capsys.readouterr()
    checks = json.loads(said.out[said.out.index("{") :])["checks"]
    assert [check["failed"] for check in checks] == [False, True]
    line = f"fails: popularity: recall@10 is {value:.6g}, below the bound 0.99"
    assert line in said.err.splitlines()
    root = ET.parse(junit).getroot()
    assert root.attrib == {"tests": "2", "failures": "1", "errors": "0"}
    # A failing run stops neither the other runs nor the table.
    other = str(runs / "random")
    assert main(["evaluate", run, other, high]) == 1
    said = capsys.readouterr()
    assert sum(line.startswith("fails:") for line in said.err.splitlines()) == 2
    assert "at least 0.99" in said.out


def test_against_a_base(runs: Path, capsys: Capture) -> None:
    new, base = str(runs / "random"), str(runs / "popularity")
    command = ["evaluate", new, "--against", base, "--fail-if-worse", "recall@50"]
    assert main([*command, "--fail-if-worse", "mrr@10", "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "random"
    first, second = found["checks"]
    # With 30 items, both runs have every item in their top 50.
    assert (first["difference"], first["interval"], first["failed"]) == (0, [0, 0], False)
    assert second["interval"][0] < second["difference"] < second["interval"][1]
    means = [evaluate_run(path).found.metrics["mrr@10"] for path in (new, base)]
    assert second["difference"] == pytest.approx(means[0] - means[1])
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "no worse than popularity" in out and "+0.0000 to +0.0000" in out


def test_a_worse_run_fails(runs: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    new, base = str(runs / "random"), str(runs / "popularity")
    # The shop is small, so make the interval narrow.
    monkeypatch.setattr("miracle_core.evaluation.checks.stdtrit", lambda *_: 0.0)
    metrics = [evaluate_run(path).found.metrics["mrr@50"] for path in (new, base)]
    worse, better = (new, base) if metrics[0] < metrics[1] else (base, new)
    options = ["--fail-if-worse", "mrr@50"]
    assert main(["evaluate", worse, "--against", better, *options]) == 1
    assert "worse" in capsys.readouterr().err
    assert main(["evaluate", better, worse, "--against", worse, *options]) == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fail-under", "recall@20=0.1"], "measure it: --k 20"),
        (["--fail-under", "recall@10=20"], "between 0 and 1"),
        (["--fail-if-worse", "recall@10"], "add --against BASE"),
        (["--against", "BASE"], "add --fail-if-worse"),
        (["--against", "BASE", "--fail-if-worse", "hits@10"], "no run has the metric 'hits@10'"),
        (["--against", "RUN", "--fail-if-worse", "recall@10"], "is the run itself"),
        (["--against", "none", "--fail-if-worse", "recall@10"], "not a run folder"),
        (["--junit", "x.xml"], "add --fail-under"),
        (["--junit", ".", "--fail-under", "recall@10=0.1"], "is a folder"),
        (["BASE", "--save-top-k", "x.parquet"], "is of one run"),
        (["RUN"], "is named twice"),
    ],
)
def test_bad_demands(runs: Path, capsys: Capture, options: list[str], says: str) -> None:
    names = {"RUN": str(runs / "popularity"), "BASE": str(runs / "random")}
    command = ["evaluate", names["RUN"], *(names.get(option, option) for option in options)]
    assert main([*command, "--json"]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""
