"""The sentences of a report: each verdict with its figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from miracle_core.report.comparison import Comparison
from miracle_core.report.statistics import Pair
from miracle_core.report.tables import claim_rows
from miracle_core.report.words import (
    amount,
    footing,
    in_short,
    metric_name,
    p_words,
    sentence,
    shown,
)
from tests.report.support import ranks_near, system_of


def compared(hits: dict[str, float], seeds: int = 5, users: int = 3000, **more: Any) -> Comparison:
    rng = np.random.default_rng(4)
    luck = rng.random(users)
    systems = []
    for name, share in hits.items():
        noise = rng.normal(0, 0.002, (seeds, users))
        systems.append(system_of(name, np.where(luck + noise < share, 1, 60)))
    return Comparison(systems, primary="recall@10", **more)


def test_names() -> None:
    assert metric_name("ndcg@10") == "NDCG@10"
    assert metric_name("recall@50") == "Recall@50"
    assert shown(system_of("sasrec", [[1, 2]])) == "SASRec"
    assert shown(system_of("wide", [[1, 2]], model="sasrec")) == "wide"
    assert shown(system_of("mine", [[1, 2]])) == "mine"


@pytest.mark.parametrize(
    ("p", "words"), [(0.0004, "p < .001"), (0.0214, "p = .021"), (1.0, "p = 1.000")]
)
def test_p_values(p: float, words: str) -> None:
    assert p_words(p) == words


def test_no_relative_difference_to_a_mean_that_may_be_0() -> None:
    """Of 40 users one is hit: the interval of that mean holds 0."""
    found = compared({"miracle": 0.5, "random": 0.1}, users=40, proposed="miracle")
    own = found.against[0].differences["recall@10"]
    assert own.relative is not None and own.relative_interval is None
    assert claim_rows(found)[0][3:5] == ["", ""]
    known = compared({"miracle": 0.5, "sasrec": 0.4}, proposed="miracle")
    assert all(claim_rows(known)[0][3:5])


def test_better_and_worse_name_size_and_interval() -> None:
    found = compared({"miracle": 0.33, "sasrec": 0.3, "gru4rec": 0.36}, proposed="miracle")
    better, worse = (sentence(found, each) for each in found.against)
    own = Pair(
        found.systems[0].values("recall@10"), found.systems[1].values("recall@10")
    ).difference
    assert own.relative is not None
    assert own.relative_interval is not None
    low, high = own.relative_interval.low * 100, own.relative_interval.high * 100
    size = f"{own.relative * 100:.1f}" if own.relative < 0.1 else f"{own.relative * 100:.0f}"
    assert better.startswith(f"MIRACLE is better than SASRec by {size} % (")
    assert better.endswith("p < .001.")
    numbers = [float(word.strip("(")) for word in better.split() if word.strip("(")[0].isdigit()]
    assert numbers[1:3] == pytest.approx([low, high], abs=0.51)
    # Sizes have no sign if the sentence names the direction, and they are in rising order.
    assert worse.startswith("MIRACLE is worse than GRU4Rec by 8.")
    inside = worse.partition("(")[2].partition(" %")[0].split(" to ")
    assert 0 < float(inside[0]) < float(inside[1])


def test_equal_and_not_told_apart() -> None:
    rng = np.random.default_rng(1)
    same = np.where(rng.random(4000) < 0.5, 1, 60)
    flips = rng.random((10, 4000)) < 0.002
    runs = np.where(flips, 61 - same, same)
    systems = [system_of("miracle", runs[:5]), system_of("sasrec", runs[5:])]
    found = Comparison(systems, primary="recall@10", proposed="miracle")
    said = sentence(found, found.against[0])
    assert said.startswith("MIRACLE and SASRec are equal within 2 %: the difference is ")
    assert said.endswith("p < .001 for being that close.")
    apart = [
        system_of("miracle", ranks_near(np.random.default_rng(seed), 0.3, 3, 60)) for seed in (1, 2)
    ]
    apart[1] = system_of("sasrec", [run.ranks for run in apart[1].runs])
    found = Comparison(apart, primary="recall@10", proposed="miracle")
    said = sentence(found, found.against[0])
    assert said.startswith("MIRACLE and SASRec cannot be told apart: the difference is ")
    assert " to +" in said
    assert "\N{MINUS SIGN}" in said
    assert "p = " in said


def test_without_a_claim_there_is_no_p() -> None:
    found = compared({"miracle": 0.33, "sasrec": 0.3})
    said = sentence(found, found.against[0])
    assert said.startswith("MIRACLE is ")
    assert " % above SASRec (" in said
    assert "p " not in said
    said = footing(found)
    assert said.startswith("No hypothesis was fixed beforehand, so there is no test")
    assert "not corrected" in said
    assert "--proposed" not in said


def test_one_run_says_so() -> None:
    found = compared({"miracle": 0.33, "sasrec": 0.3}, seeds=1, proposed="miracle")
    said = sentence(found, found.against[0])
    assert said.endswith(
        "With one run of a system this interval is of users only: no claim is made."
    )
    assert "p <" not in said
    # The caveat is a separate sentence that names each system and its number of runs.
    assert in_short(found)[-1].startswith(
        "Few trainings: fewer than 5 seeds of MIRACLE (1) and SASRec (1)."
    )
    assert "Few trainings" not in " ".join(in_short(compared({"miracle": 0.33, "sasrec": 0.3})))


def test_where_the_other_is_nothing_the_size_is_the_metric_s_own() -> None:
    systems = [system_of("miracle", [[1, 1, 60, 1]] * 2), system_of("sasrec", [[60] * 4] * 2)]
    size = amount(Pair(systems[0].values("recall@10"), systems[1].values("recall@10")).difference)
    assert size.size == "0.7500"
    assert "%" not in size.span + size.signed_span


def test_the_first_sentence_ranks_by_the_mean() -> None:
    found = compared({"miracle": 0.2, "sasrec": 0.3, "gru4rec": 0.25})
    first = in_short(found)[0]
    value = found.means["sasrec"]["recall@10"].value
    assert first.startswith(f"Highest mean Recall@10: SASRec {value:.4f} (")
    assert "then GRU4Rec 0.2" in first
    # The top two are compared beside their means, the others below.
    between = found.difference(found.systems[1], found.systems[2], "recall@10")
    assert first.endswith(f"SASRec is {amount(between).size} above GRU4Rec "
                          f"({amount(between).span}).")  # fmt: skip
    (below,) = in_short(found)[1:]
    assert below.startswith("SASRec is ")
    assert " above MIRACLE (" in below


def test_two_leaders_that_cannot_be_told_apart() -> None:
    hits = {"sasrec": 0.05, "miracle": 0.3, "gru4rec": 0.3}
    systems = [
        system_of(name, ranks_near(np.random.default_rng(seed), share, 3, 60))
        for seed, (name, share) in enumerate(hits.items())
    ]
    found = Comparison(systems, primary="recall@10")
    one, two = found.ranked()[:2]
    own = found.difference(one, two, "recall@10")
    assert own.interval.low < 0 < own.interval.high
    assert (
        f"{shown(one)} and {shown(two)} cannot be told apart: the difference is +"
        in (in_short(found)[0])
    )
    assert "its interval holds 0" in in_short(found)[0]


def test_a_claim_of_a_third_system_leaves_the_first_two_told() -> None:
    found = compared({"miracle": 0.2, "sasrec": 0.3, "gru4rec": 0.25}, proposed="miracle")
    said = in_short(found)
    assert "SASRec is " in said[0] and " above GRU4Rec (" in said[0]
    assert [each.startswith("MIRACLE is worse than ") for each in said[1:]] == [True, True]
    second = compared({"miracle": 0.25, "sasrec": 0.3}, proposed="miracle")
    assert "above" not in in_short(second)[0]  # the claim below already says it


def test_the_claim_s_family_is_told_by_its_number() -> None:
    found = compared({"miracle": 0.33, "sasrec": 0.3, "gru4rec": 0.2}, proposed="miracle")
    assert "its 2 p-values are corrected for their number (Holm)" in footing(found)


def test_metrics_that_another_system_leads() -> None:
    """One finds more items, the other finds them higher up."""
    users = np.arange(400)
    many = np.where(users < 200, 8, 60)
    high = np.where(users < 150, 1, 60)
    systems = [system_of("sasrec", [many] * 2), system_of("miracle", [high] * 2)]
    found = Comparison(systems, primary="recall@10")
    assert found.reference.name == "sasrec"
    said = in_short(found)[1]
    assert said.startswith("Another system leads by other metrics. NDCG@10: MIRACLE is ")
    own = found.difference(systems[1], systems[0], "mrr@10")
    assert f"MRR@10: MIRACLE is {amount(own).size} above SASRec ({amount(own).span})" in said
    assert "Recall" not in said
    # One system leads everywhere: nothing to add.
    alike = Comparison([system_of("sasrec", [many] * 2), system_of("miracle", [users + 20] * 2)])
    assert not any("leads" in each for each in in_short(alike))


def test_one_system_is_told_in_users() -> None:
    alone = compared({"miracle": 0.2}, alone=True)
    value = alone.means["miracle"]["recall@10"].value
    said = in_short(alone)[0]
    assert said.startswith(f"Of {value * 100:.1f} % of users (")
    assert said.endswith("the held-out item is among the first 10.")
