"""Rules compared with brute force over every item: single, batched and evaluated lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from miracle_core.config import SeenRule
from miracle_core.data.dataset import Dataset
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.metrics import UNRANKED
from miracle_core.ranking.order import tie_order
from miracle_core.ranking.rules import LARGEST, Rules
from miracle_core.recommender import Recommender
from miracle_core.runs.opening import load_run
from tests.support.rules import competing, differing, listed, relevant
from tests.support.runs import (
    LENGTHS,
    TITLES,
    random_model,
    tiny_run,
    tiny_settings,
    tiny_shop,
    write_run,
)
from tests.support.systems import trained

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
IDS = [f"I{place:02}" for place in range(len(TITLES))]
# Each seed draws its own weights and its own brands and kinds.
SEEDS = (3, 4, 5)


def having(seed: int) -> dict[str, list[set[str]]]:
    """The attributes of each item: some have no brand, some have two kinds."""
    rng = np.random.default_rng(seed)
    n = len(TITLES)
    brand: list[set[str]] = [
        set() if rng.random() < 0.2 else {f"b{rng.integers(3)}"} for _ in range(n)
    ]
    # Make sure that every value occurs.
    brand[:3] = [{"b0"}, {"b1"}, {"b2"}]
    kind = [{f"k{rng.integers(4)}", f"k{rng.integers(5)}"} for _ in range(n)]
    kind[:2] = [{"k0"}, {"k3"}]
    return {"brand": brand, "kind": kind}


def with_attributes(folder: Path, seed: int) -> Dataset:
    """The tiny shop, whose items have brands and kinds."""
    plain, has = tiny_shop(folder / "plain"), having(seed)
    rows = [
        (IDS[item], attribute, value)
        for item in range(len(TITLES))
        for attribute in sorted(has)
        for value in sorted(has[attribute][item])
    ]
    schema = {"item_id": pl.String, "attribute": pl.String, "value": pl.String}
    write_dataset(
        folder / "data",
        name="tiny",
        items=plain.items,
        user_ids=plain.users["user_id"],
        sequences=np.asarray(plain.sequences),
        offsets=np.asarray(plain.offsets),
        sources=[],
        settings={},
        counts={},
        attributes=pl.DataFrame(rows, schema=schema, orient="row"),
    )
    return write_features(folder / "data", plain.features(), plain.feature_set().encoder)


def opened(folder: Path, seed: int) -> Recommender:
    dataset = with_attributes(folder, seed)
    asked = tiny_settings(data=str(folder / "data"), seen="as-printed")
    model = random_model(asked, dataset, seed)
    return Recommender.load(write_run(folder / "run", dataset, asked, model))


@pytest.fixture(scope="module")
def recommenders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Recommender]:
    return {seed: opened(tmp_path_factory.mktemp("rules"), seed) for seed in SEEDS}


@pytest.fixture(scope="module")
def recommender(recommenders: dict[int, Recommender]) -> Recommender:
    return recommenders[SEEDS[0]]


def subsets(values: list[str], least: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=least, unique=True)


RULES = st.fixed_dictionaries(
    {},
    optional={
        "allow": subsets(IDS, least=12).map(tuple),
        "deny": subsets(IDS).map(tuple),
        "where": st.dictionaries(
            st.sampled_from(["brand", "kind"]), st.just(None), min_size=1
        ).flatmap(
            lambda names: st.fixed_dictionaries(
                {
                    name: subsets(["b0", "b1", "b2"] if name == "brand" else ["k0", "k3"], 1).map(
                        tuple
                    )
                    for name in names
                }
            )
        ),
        "mute": st.lists(st.integers(0, 6), unique=True, max_size=5).map(tuple),
        "boost": st.dictionaries(st.integers(0, 6), st.sampled_from([-0.4, 0.05, 0.3]), max_size=4),
        "min_strength": st.sampled_from([0.0, 0.3, 0.6]),
        "quota": st.integers(0, 4),
    },
)


@SETTINGS
@given(
    seed=st.sampled_from(SEEDS),
    asked=RULES,
    differ=st.sampled_from([None, None, ("brand", 0.2), ("kind", 0.05), ("text", 0.4)]),
    k=st.integers(1, 32),
    leave_out=st.booleans(),
)
def test_as_brute_force_says(
    recommenders: dict[int, Recommender],
    seed: int,
    asked: dict[str, Any],
    differ: tuple[str, float] | None,
    k: int,
    leave_out: bool,
) -> None:
    """Each rule alone and in combinations, on several catalogues."""
    recommender, rules = recommenders[seed], together(asked, differ)
    rule: SeenRule = "leave-out" if leave_out else "as-printed"
    catalogue = recommender.item_vectors().vectors
    interests = recommender.user_interests()
    assert interests.interests is not None and interests.strengths is not None
    ties = tie_order(len(TITLES)).tolist()
    try:
        found = recommender.recommend_users(None, k, rule, rules=rules).frame()
    except InputError as error:
        assert "leave none" in error.what
        assert not candidates_of(seed, rules, set())
        return
    assert candidates_of(seed, rules, set())
    for place in range(len(LENGTHS)):
        user = f"user-{place}"
        own = np.array([each == user for each in interests.ids])
        vectors, which = interests.vectors[own], interests.interests[own]
        strengths = interests.strengths[own]
        counting = [
            number not in rules.mute and strength >= rules.min_strength
            for number, strength in zip(which.tolist(), strengths.tolist(), strict=True)
        ]
        history = recommender.user_history(user).items
        items, score, winner = listed(
            vectors,
            catalogue,
            counting,
            [rules.boost.get(number, 0.0) for number in which.tolist()],
            candidates_of(seed, rules, set(history) if leave_out else set()),
            rules.quota,
            k,
            ties,
            choosing(recommender, seed, rules),
        )
        mine = found[found["user_id"] == user]
        assert mine["item_id"].tolist() == [IDS[item] for item in items]
        assert mine["rank"].tolist() == list(range(1, len(items) + 1))
        assert np.allclose(mine["score"], [score[item] for item in items], atol=1e-5)
        assert mine["interest"].tolist() == [which[winner[item]] for item in items]
        # Single and batched answers are compared above, so a third of them is enough here.
        if place % 3:
            continue
        if items:
            alone = recommender.recommend(history, k, rule, rules=rules)
            assert [item.item for item in alone.items] == items
            for item in alone.items:
                assert item.capsule is not None
                assert item.boost == pytest.approx(rules.boost.get(item.capsule, 0.0))
                parts = sum(item.contributions) + item.repeat + item.boost
                assert item.score == pytest.approx(parts, abs=1e-4)
        else:
            with pytest.raises(InputError, match="the rules leave n"):
                recommender.recommend(history, k, rule, rules=rules)


def together(asked: dict[str, Any], differ: tuple[str, float] | None) -> Rules:
    """Rules from drawn parts, without combinations that are refused."""
    mute = asked.get("mute", ())
    boost = {c: by for c, by in asked.get("boost", {}).items() if c not in mute}
    more: dict[str, Any] = {"boost": boost}
    if differ is not None:
        more |= {"diverse_by": differ[0], "diversity": differ[1], "quota": 0}
    return Rules.make(**{**asked, **more})


def choosing(
    recommender: Recommender, seed: int, rules: Rules
) -> Callable[[list[int], dict[int, float], int], list[int]] | None:
    """How to choose a list of different items."""
    if not rules.diversity:
        return None
    if rules.diverse_by == "text":
        text = recommender.dataset.features().astype(np.float64)
        text /= np.linalg.norm(text, axis=1, keepdims=True).clip(1e-12)
        return lambda items, score, k: relevant(items, score, k, rules.diversity, text)
    has = having(seed)[rules.diverse_by]
    labels: list[object] = [frozenset(own) or item for item, own in enumerate(has)]
    return lambda items, score, k: differing(items, score, k, rules.diversity, labels)


def candidates_of(seed: int, rules: Rules, had: set[int]) -> set[int]:
    return competing(
        len(TITLES),
        IDS,
        having(seed),
        None if rules.allow is None else set(rules.allow),
        set(rules.deny),
        {name: set(values) for name, values in rules.where.items()},
        had,
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"deny": ("I00", "I07", "I12")},
        {"where": {"brand": ("b1", "b2")}, "mute": (0, 3)},
        {"min_strength": 0.6},
        {"boost": {0: 0.3, 4: -0.2}},
        {"boost": {1: 0.3}, "mute": (3,), "quota": 2},
        {"quota": 2},
        {"quota": 1, "where": {"brand": ("b0",)}, "mute": (2,)},
        {"diversity": 0.4, "diverse_by": "text"},
        {"diversity": 0.2, "diverse_by": "brand"},
    ],
)
@pytest.mark.parametrize("leave_out", [False, True])
def test_an_evaluation_is_of_the_lists_that_are_given(
    recommender: Recommender, asked: dict[str, object], leave_out: bool
) -> None:
    """Recall@K is the share of users whose list of K contains the held-out item."""
    rules, rule = Rules.make(**asked), "leave-out" if leave_out else "as-printed"
    scorer = recommender._scorer
    applied = recommender._rules(rules)
    ks = (1, 3, 10)
    found = evaluate(
        scorer, recommender.dataset, ks=ks, leave_out=leave_out, rules=applied, keep_top=10
    )
    places: dict[int, list[int]] = {k: [] for k in ks}
    for row, user in enumerate(found.users.tolist()):
        past = recommender.user_history(f"user-{user}", "test")
        for k in ks:
            table = recommender.recommend([past.items], k, rule, rules=rules).frame()
            items = [IDS.index(item) for item in table["item_id"]]
            place = items.index(past.held_out) + 1 if past.held_out in items else UNRANKED
            places[k].append(place)
        assert found.top_items is not None and found.top_scores is not None
        kept = found.top_items[row][np.isfinite(found.top_scores[row])].tolist()
        assert kept == items
    for k in ks:
        hits = [1 / np.log2(place + 1) if place <= k else 0.0 for place in places[k]]
        assert found.metrics[f"ndcg@{k}"] == pytest.approx(np.mean(hits))
        share = np.mean([place <= k for place in places[k]])
        assert found.metrics[f"recall@{k}"] == pytest.approx(share)


def test_every_interest_is_served(recommender: Recommender) -> None:
    every = recommender.recommend_users(None, 30).frame().groupby("user_id")["interest"]
    fewer = 0
    for k in (3, 7):
        plain = recommender.recommend_users(None, k).frame().groupby("user_id")["interest"]
        asked = recommender.recommend_users(None, k, rules=Rules(quota=1)).frame()
        served = asked.groupby("user_id")["interest"]
        for user, won in every.nunique().items():
            assert served.nunique()[user] == min(won, k)
            fewer += plain.nunique()[user] < min(won, k)
    assert fewer > 0


@pytest.mark.parametrize(
    ("asked", "what", "remedy"),
    [
        (
            {"where": {"brnd": ("b0",)}},
            "has an attribute 'brnd'",
            "did you mean brand",
        ),
        ({"where": {"brand": ("b9",)}}, "no item of .* has brand 'b9'", "values look like 'b0'"),
        (
            {"diversity": 1.0, "diverse_by": "colour"},
            "no item of .* has an attribute",
            "there are: brand",
        ),
        (
            {"allow": ("nothing", "more", "I1")},
            r"none of its 3 ids is in the catalogue \('nothing', 'more', 'I1'\)",
            "such as 'I00'; of a file each whole line is an id",
        ),
        ({"allow": ("I01",), "deny": ("I01",)}, "leave none of the 30 items", "let more"),
        ({"mute": (7,)}, "no capsule 7", "0 to 6"),
        ({"boost": {-1: 0.5}}, "no capsule -1", "0 to 6"),
        ({"mute": tuple(range(7))}, "every interest is muted", "keep some"),
    ],
)
def test_what_makes_no_sense_here_is_refused(
    recommender: Recommender, asked: dict[str, object], what: str, remedy: str
) -> None:
    with pytest.raises(InputError, match=what) as error:
        recommender.recommend([0], rules=Rules.make(**asked))
    assert remedy in str(error.value)


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"quotas": 1}, r"rules: quotas: there is no such rule \(did you mean quota\?\)"),
        ({"zzz": 1}, r"rules: zzz: there is no such rule \(known: "),
        ({"quota": -1}, "must be at least 0"),
        ({"min_strength": float("nan")}, "finite"),
        ({"boost": {1: float("inf")}}, "finite"),
        ({"boost": {1: 0.2, 3: 1e39}}, "between -1000 and 1000, and capsule 3 is given 1e.39"),
        ({"boost": {0: -1000.5}}, "between -1000 and 1000"),
        ({"diversity": 1e39, "diverse_by": "brand"}, "at most 1000"),
        ({"boost": {1: 0.2}, "mute": (1,)}, "capsule 1 is muted and boosted"),
        ({"min_strength": 1.0}, "must be below 1"),
        ({"diversity": 0.5}, r"rules: diversity: nothing says .* \(give diverse_by as well\)"),
        ({"diverse_by": "text"}, r"rules: diverse_by: nothing .* \(give diversity as well\)"),
        ({"diversity": 0.5, "diverse_by": "text", "quota": 1}, "not both"),
        ({"diversity": 2, "diverse_by": "text"}, "from 0 to 1"),
    ],
)
def test_what_makes_no_sense_anywhere_is_refused(asked: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=what):
        Rules.make(**asked)


@pytest.mark.parametrize("boost", [-LARGEST, LARGEST])
def test_the_largest_boost_keeps_the_order_of_items(recommender: Recommender, boost: float) -> None:
    (capsule,) = (each.capsule for each in recommender.recommend([7]).capsules)
    plain = recommender.recommend([7], len(TITLES))
    found = recommender.recommend([7], len(TITLES), rules=Rules(boost={capsule: boost}))
    assert [item.item for item in found.items] == [item.item for item in plain.items]
    assert {item.boost for item in found.items} == {boost}


def test_the_largest_diversity_is_as_defined(recommender: Recommender) -> None:
    rules = Rules(diversity=LARGEST, diverse_by="brand")
    choose = choosing(recommender, SEEDS[0], rules)
    plain = recommender.recommend([7], len(TITLES)).items
    assert choose is not None
    wanted = choose([item.item for item in plain], {item.item: item.score for item in plain}, 12)
    found = recommender.recommend([7], 12, rules=rules).items
    assert [item.item for item in found] == wanted != [item.item for item in plain[:12]]


def test_unknown_ids_are_told(recommender: Recommender) -> None:
    rules = Rules(deny=("I00", "a", "b", "c", "d"))
    loaded = Recommender.load(recommender.run, rules=rules)
    assert loaded.notes == ("deny: the catalogue has no item 'a', 'b', 'c' and 1 more",)
    assert "I00" not in {item.item_id for item in loaded.recommend([0], 30).items}
    comments = Rules(deny=("# sold out", "I00", "# of week 47", "#", "I0O"))
    assert Recommender.load(recommender.run, rules=comments).notes == (
        "deny: the catalogue has no item 'I0O', '# sold out', '# of week 47' and 1 more (a line "
        "that begins with # is an id, too)",
    )
    # The rules of a request replace those of the Recommender.
    assert "I00" in {item.item_id for item in loaded.recommend([0], 30, rules=Rules()).items}
    with pytest.raises(InputError, match="does not know of rules"):
        loaded.recommend([0], approximate=True)


def test_systems_without_what_a_rule_is_about_refuse_it(tmp_path: Path) -> None:
    popularity = Recommender.load(trained(tmp_path, "popularity"))
    for rules, what in [
        (Rules(quota=1), "one interest a user"),
        (Rules(min_strength=0.1), "within one history only"),
        (Rules(boost={0: 0.1}), "within one history only"),
        (Rules(diversity=0.5, diverse_by="text"), "reads no text"),
    ]:
        with pytest.raises(InputError, match=what):
            popularity.recommend([0], rules=rules)
    for kind in ("popularity", "itemknn"):
        other = Recommender.load(trained(tmp_path, kind)) if kind != "popularity" else popularity
        found = other.recommend_users(None, 30, rules=Rules(allow=("I03", "I04"))).frame()
        assert set(found["item_id"]) == {"I03", "I04"} and len(found) == 2 * len(LENGTHS)
        found = evaluate(other._scorer, other.dataset, rules=other._rules(Rules(deny=("I03",))))
        assert (found.ranks[found.targets == 3] == UNRANKED).all()
        assert (found.ranks[found.targets != 3] <= 29).all() and (found.active == 1).all()


def test_the_target_of_one_history_is_left_out_by_rules(recommender: Recommender) -> None:
    found = recommender.recommend([0, 1], 3, target=5, rules=Rules(deny=("I05",)))
    assert found.target is not None and found.target.rank == 0


@pytest.mark.parametrize("leave_out", [False, True])
@pytest.mark.parametrize(("weaker", "mute"), [(0.2, ()), (0.6, (1,))])
def test_padded_histories_are_ranked_alike(
    tmp_path: Path, leave_out: bool, weaker: float, mute: tuple[int, ...]
) -> None:
    # The gain depends on the user. The rules reorder users (0.2) and leave some out (0.6).
    run = load_run(tiny_run(tmp_path, seen="gain"))
    with torch.no_grad():
        assert run.system.repeat is not None
        run.system.repeat.fill_(0.5)
    strengths = Recommender(run).user_interests().strengths
    assert strengths is not None
    rules = Rules(
        min_strength=float(np.quantile(strengths, weaker)), mute=mute, deny=("I03",), boost={2: 0.4}
    )
    found = []
    for layout in ("packed", "padded"):
        run.system.layout = layout
        scorer = run.system.scorer(run.items)
        assert scorer.padded == (layout == "padded")
        applied = run.applied(rules, scorer)
        found.append(
            evaluate(scorer, run.dataset, "test", leave_out=leave_out, keep_top=20, rules=applied)
        )
    packed, padded = found
    assert packed.top_scores is not None
    answered = np.isfinite(packed.top_scores).any(1)
    assert answered.any() and answered.all() == (not mute)
    assert np.array_equal(packed.ranks, padded.ranks)
    assert np.array_equal(packed.top_items, padded.top_items)
