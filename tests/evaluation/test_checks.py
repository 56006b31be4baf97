"""Checks of runs: bounds, paired differences, several runs in one table, and JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from miracle_core.config import make_settings
from miracle_core.errors import InputError
from miracle_core.evaluation.checks import (
    Bound,
    Check,
    check_bound,
    check_not_worse,
    known_metric,
    paired_interval,
    verdict,
)
from miracle_core.evaluation.evaluate import Evaluation
from miracle_core.evaluation.junit import write_junit
from miracle_core.evaluation.metrics import UNRANKED, ranking_metrics, user_metrics
from miracle_core.evaluation.several import evaluate_runs, labels
from miracle_core.runs.looks import read_looks
from miracle_core.training.finetuning import finetune
from tests.support.runs import other_shop, tiny_shop


def measured(ranks: list[int], first_user: int = 0) -> Evaluation:
    """An evaluation in which only ranks and users matter."""
    users = np.arange(first_user, first_user + len(ranks))
    found = np.array(ranks)
    metrics = ranking_metrics(found, (10,))
    own: dict[str, Any] = {"users": users, "targets": users, "ranks": found, "metrics": metrics}
    rest = dict.fromkeys(("top_items", "top_scores", "capsule_users"))
    return Evaluation(
        "d", "test", n_items=99, active=users, several=False, seconds=0, **own, **rest
    )


@pytest.mark.parametrize("n", [2, 3, 40])
def test_the_interval_is_that_of_a_paired_t_test(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.random(n), rng.random(n)
    mean, low, high = paired_interval(a - b)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert mean == pytest.approx((a - b).mean())


def test_metrics_of_users_have_the_mean_of_the_metrics() -> None:
    ranks = np.array([1, 3, 10, 11, UNRANKED])
    for name, values in user_metrics(ranks, 10).items():
        assert ranking_metrics(ranks, (10,))[name] == values.mean()
    assert user_metrics(ranks, 10)["mrr@10"] == pytest.approx([1, 1 / 3, 0.1, 0, 0])


@pytest.mark.parametrize(
    ("ours", "theirs", "failed"),
    [
        ([99] * 30, [1] * 30, True),  # no variance at all
        ([1] * 30, [1] * 30, False),
        ([1] * 30, [99] * 30, False),
        ([1] * 20 + [99] * 10, [1] * 30, True),
        ([1] * 29 + [99], [1] * 30, False),  # lower on average, but one user proves nothing
    ],
)
def test_worse_is_an_interval_below_zero(ours: list[int], theirs: list[int], failed: bool) -> None:
    check = check_not_worse("new", measured(ours), "old", measured(theirs), "recall@10")
    assert check.failed == failed
    low, high = check.figures["interval"]
    assert low <= check.figures["difference"] <= high
    assert failed == (high < 0)
    assert "new: recall@10" in check.detail and "95 % interval" in check.detail


def test_other_users_are_no_pairs() -> None:
    with pytest.raises(InputError, match="same users"):
        check_not_worse("a", measured([1, 2]), "b", measured([1, 2], first_user=1), "mrr@10")
    with pytest.raises(InputError, match="one user"):
        check_not_worse("a", measured([1]), "b", measured([2]), "mrr@10")


def test_a_bound_is_reached_by_what_equals_it() -> None:
    found = measured([1, 99, 99, 99])
    assert not check_bound("run", found, Bound("recall@10", 0.25)).failed
    check = check_bound("run", found, Bound("recall@10", 0.2500001))
    assert check.failed
    assert check.detail == "run: recall@10 is 0.25, below the bound 0.25"
    told = {"run": "run", "metric": "recall@10", "value": 0.25, "least": 0.2500001, "failed": True}
    assert check.summary() == told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("recall@10", "recall@10=0.2"),
        ("recall@10=high", "recall@10=0.2"),
        ("recall@10=nan", "recall@10=0.2"),
        ("recall@10=20", "between 0 and 1"),
        ("recall@10=-1", "between 0 and 1"),
        ("recall@20=0.2", "--k 20"),
        ("hits@10=0.2", "name one of them"),
        ("recall@0=0.2", "name one of them"),
        ("=0.2", "name one of them"),
    ],
)
def test_what_is_no_bound(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Bound.parse(text, (10, 50))
    assert caught.value.where == f"--fail-under {text}"


def test_bounds() -> None:
    assert Bound.parse(" ndcg@50 = 2e-1", (10, 50)) == Bound("ndcg@50", 0.2)
    assert known_metric("mrr@10", (10,), "x") == "mrr@10"


def test_junit_holds_any_name(tmp_path: Path) -> None:
    label = 'runs/<a> & "b" \x1b[31m \udce9 é'
    checks = [
        Check(label, "recall@10", 0.1, "at least 0.2", True, f"{label} is < 0.2", {}),
        Check("b", "ndcg@10", 0.1, "no worse than <base>", False, "fine", {}),
    ]
    write_junit(tmp_path / "junit.xml", checks)
    root = ET.parse(tmp_path / "junit.xml").getroot()
    (suite,) = root
    assert suite.attrib == {
        "name": "miracle evaluate",
        "tests": "2",
        "failures": "1",
        "errors": "0",
    }
    bad, good = suite
    shown = 'runs/<a> & "b" \ufffd[31m \ufffd é'
    assert bad.attrib == {"classname": shown, "name": "recall@10 at least 0.2"}
    failure = bad.find("failure")
    assert failure is not None and failure.attrib == {"message": f"{shown} is < 0.2"}
    assert good.find("failure") is None
    assert good.attrib["name"] == "ndcg@10 no worse than <base>"


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.01, 0.02, "better"), (0.0, 0.02, "not worse"), (-1.0, 0.0, "not worse"), (-2, -1, "worse")],
)
def test_the_verdict_of_an_interval(low: float, high: float, says: str) -> None:
    assert verdict(low, high) == says


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs by name: two seen rules of one shop, and one of another shop."""
    folder = tmp_path_factory.mktemp("several")
    tiny_shop(folder / "data")
    other_shop(folder / "other-data")
    for name, kind, rule, data in (
        ("popular", "popularity", "as-printed", "data"),
        ("chance", "random", "as-printed", "data"),
        ("left-out", "popularity", "leave-out", "data"),
        ("near", "textknn", "leave-out", "data"),
        ("other", "textknn", "leave-out", "other-data"),
    ):
        values = {"data": str(folder / data), "seen": rule, "model": {"kind": kind}}
        mode = "inductive" if kind == "textknn" else "transductive"
        finetune(make_settings({**values, "train": {"mode": mode}}), folder / name)
    return folder


def test_several_runs(runs: Path) -> None:
    found = evaluate_runs([runs / "popular", runs / "chance"])
    assert [each.run.spec.name for each in found] == ["popularity", "random"]
    assert found[0].references["popularity"].metrics == pytest.approx(found[0].found.metrics)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("near", "other"), "is of other data than"),
        (("popular", "left-out"), "ranks by the seen rule leave-out"),
        (("popular", "popular"), "is named twice"),
        (("popular", "nowhere"), "not a run folder"),
    ],
)
def test_runs_that_do_not_compare(runs: Path, names: tuple[str, str], says: str) -> None:
    before = read_looks(runs / names[0])
    with pytest.raises(InputError, match=says):
        evaluate_runs([runs / name for name in names])
    assert read_looks(runs / names[0]) == before  # nothing was ranked


def test_data_or_a_rule_for_all(runs: Path) -> None:
    found = evaluate_runs([runs / "near", runs / "other"], runs / "data")
    assert [each.zero_shot for each in found] == [False, True]
    found = evaluate_runs([runs / "popular", runs / "left-out"], seen="as-printed")
    assert found[0].found.metrics == found[1].found.metrics
    with pytest.raises(InputError, match="another catalogue"):
        evaluate_runs([runs / "near", runs / "popular"], runs / "other-data", seen="leave-out")


def test_labels_tell_runs_apart() -> None:
    paths = [Path("a/run"), Path("b/run"), Path("b/other")]
    assert labels(paths) == ["a/run", "b/run", "other"]
