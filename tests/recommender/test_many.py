"""Many histories at once get the same answers as each one alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from miracle_core import evaluate, registry
from miracle_core.config import SeenRule
from miracle_core.errors import InputError
from miracle_core.recommender import ItemId, NewTitle, Recommender
from miracle_core.recommender.lists import Recommendations
from tests.support.runs import LENGTHS, TITLES, tiny_run
from tests.support.systems import trained

KINDS = ["miracle", "inductive", "mind", "bert4rec", "s3rec", "textknn", "itemknn", "popularity"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("systems")


@pytest.fixture(scope="module", params=KINDS)
def recommender(request: pytest.FixtureRequest, folder: Path, small_run: Path) -> Recommender:
    kind = request.param
    if kind == "miracle":
        return Recommender.load(small_run)
    if kind == "inductive":
        return Recommender.load(tiny_run(folder / kind, train__mode="inductive"))
    return Recommender.load(trained(folder, kind))


FITTED = ("textknn", "itemknn", "popularity")
HISTORIES = [[0], [5, 17, 29], [8, 8, 20, 1], [3, 14, 15, 9, 26, 5], [27, 1, 8, 2, 8, 1, 8, 28]]
RULES: list[SeenRule] = ["as-printed", "leave-out", "gain"]


def assert_same(recommender: Recommender, found: Recommendations, histories: object) -> None:
    """Every list equals the one for its history alone."""
    table = found.frame()
    assert isinstance(histories, list)
    for number, (history, rule) in enumerate(histories):
        alone = recommender.recommend(history, 10, rule).frame()
        own = table[table["user_id"] == found.user_ids[number]]
        assert list(own["rank"]) == list(alone["rank"])
        scores = np.array(own["score"], dtype=np.float64)
        assert np.allclose(scores, alone["score"], rtol=1e-4, atol=1e-5)
        # Batches may round differently, so items with nearly equal scores may swap places.
        gaps = np.abs(np.subtract.outer(scores, scores)) + np.eye(len(scores))
        sure = (gaps > 1e-4).all(1)
        sure[-1] = False  # it may tie with the next item, beyond the list
        assert sure.any() or recommender.system.name in ("itemknn", "popularity")
        for name, other in (("item_id", "item_id"), ("title", "title"), ("interest", "capsule")):
            mine, theirs = own[name][sure].tolist(), alone[other][sure].tolist()
            assert mine == theirs, name


@pytest.mark.parametrize("rule", RULES)
def test_each_as_alone(recommender: Recommender, rule: SeenRule) -> None:
    if rule == "gain" and recommender.system.name in FITTED:
        with pytest.raises(InputError, match="learned no gain"):
            recommender.recommend(HISTORIES, 10, rule)
        return
    found = recommender.recommend(HISTORIES, 10, rule)
    assert_same(recommender, found, [(history, rule) for history in HISTORIES])


def test_rules_do_not_depend_on_the_rule_that_it_was_loaded_with(small_run: Path) -> None:
    loaded = {rule: Recommender.load(small_run, seen=rule) for rule in RULES}
    for rule in RULES:
        tables = [r.recommend(HISTORIES, 30, rule).frame() for r in loaded.values()]
        assert all(table.equals(tables[0]) for table in tables[1:])
    printed, gained = (loaded["gain"].recommend(HISTORIES, 5, rule).frame() for rule in RULES[::2])
    assert not printed.equals(gained)


def test_users_with_their_whole_histories(recommender: Recommender) -> None:
    found = recommender.recommend_users(None, 10, "leave-out")
    assert found.user_ids == tuple(f"user-{place}" for place in range(len(LENGTHS)))
    whole = [recommender.user_history(user).items for user in found.user_ids]
    assert [len(items) for items in whole] == LENGTHS
    assert_same(recommender, found, [(items, "leave-out") for items in whole])
    some = recommender.recommend_users(["user-7", "user-2"], 10, "leave-out").frame()
    assert list(dict.fromkeys(some["user_id"])) == ["user-7", "user-2"]


def test_new_titles_beside_known_items(small_run: Path) -> None:
    recommender = Recommender.load(small_run)
    mug, pump = NewTitle("Ceramic Mug"), NewTitle("Bicycle pump")
    histories = [[mug], [0, pump, ItemId("I07")], [pump, mug, mug, 3, 8, 8, 1, 2], [4]]
    for rule in RULES:
        found = recommender.recommend(histories, 10, rule)
        assert_same(recommender, found, [(history, rule) for history in histories])


def test_labels_are_the_capsules_words_or_the_best_title(recommender: Recommender) -> None:
    table = recommender.recommend(HISTORIES, 6).frame()
    if recommender.abilities.capsules:
        words = [recommender.label(int(capsule)) for capsule in table["interest"]]
        assert list(table["label"]) == words
    elif recommender.abilities.interests:
        firsts = table.groupby(["user_id", "interest"])["title"].first()
        for row in table.itertuples():
            title = " ".join(firsts[row.user_id, row.interest].split())
            assert row.label.rstrip("…") == title[: len(row.label.rstrip("…"))]
    else:
        assert table["interest"].isna().all() and table["label"].isna().all()


def test_a_user_who_had_everything_has_no_row(small_run: Path) -> None:
    recommender = Recommender.load(small_run)
    found = recommender.recommend([list(range(len(TITLES))), [0]], 50, "leave-out").frame()
    assert set(found["user_id"]) == {"1"} and len(found) == len(TITLES) - 1


def test_vectors_give_the_scores(recommender: Recommender) -> None:
    if recommender.system.name == "itemknn":
        for ask in (recommender.item_vectors, recommender.user_interests):
            with pytest.raises(InputError, match="itemknn does not rank by vectors"):
                ask()
        return
    items, interests = recommender.item_vectors(), recommender.encode_histories(HISTORIES)
    assert items.ids == tuple(f"I{place:02}" for place in range(len(TITLES)))
    assert interests.interests is not None
    scores = interests.vectors.astype(np.float64) @ items.vectors.T.astype(np.float64)
    table = recommender.recommend(HISTORIES, 30, "as-printed").frame()
    for row in table.itertuples():
        own = np.array([user == row.user_id for user in interests.ids])
        item = items.ids.index(row.item_id)
        assert scores[own, item].max() == pytest.approx(row.score, rel=1e-4, abs=1e-5)
    users = recommender.user_interests(["user-3", "user-1"])
    assert list(dict.fromkeys(users.ids)) == ["user-3", "user-1"]
    assert users.frame().shape == users.vectors.shape


def test_new_items_as_vectors(folder: Path) -> None:
    run = folder / "inductive" / "run"
    recommender = Recommender.load(
        run if run.exists() else tiny_run(folder / "inductive", train__mode="inductive")
    )
    texts = [recommender.text(item) for item in (0, 9)]
    vectors = recommender.encode_items(texts)
    assert vectors.ids == tuple(texts)
    assert np.allclose(vectors.vectors, recommender.item_vectors().vectors[[0, 9]], atol=1e-5)
    with pytest.raises(InputError, match="no titles"):
        recommender.encode_items([])


@pytest.mark.parametrize(
    ("ask", "what", "where"),
    [
        (lambda r: r.recommend([[0], []]), "history 1 is empty", None),
        (lambda r: r.recommend([[0], [1, 99]]), "no item 99", "history 1, item 2"),
        (lambda r: r.recommend([[0], 5]), "must be a list", None),
        (lambda r: r.recommend([[0], ["I01"]]), "an id or a title", "history 1, item 1"),
        (lambda r: r.recommend([[0]], target=1), "are of one history", "recommend"),
        (lambda r: r.recommend([[0]], 0), "top_k is 0", None),
        (lambda r: r.recommend_users(["user-1", "?"]), "no user", None),
        (lambda r: r.recommend_users("user-1"), "must be a list", None),
        (lambda r: r.encode_items("mug"), "must be a list", None),
    ],
)
def test_what_makes_no_sense_is_told(
    small_run: Path, ask: object, what: str, where: str | None
) -> None:
    assert callable(ask)
    with pytest.raises(InputError, match=what) as error:
        ask(Recommender.load(small_run))
    assert where is None or error.value.where == where


def test_a_notebook_reads_titles_as_text(small_run: Path) -> None:
    recommender = Recommender.load(small_run)
    bad = "<script>alert(1)</script>"
    found = recommender.recommend([[0, 1]], 3)
    titles = [bad] * len(TITLES)
    shown = Recommendations(
        found.user_ids, found.lists, found.item_ids, titles, found.labels, found.several
    )._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert "30 more rows" not in shown
    long = recommender.recommend(HISTORIES, 30)._repr_html_()
    assert "90 more rows" in long
    assert "I00" in recommender.recommend([0, 1], 30, "as-printed")._repr_html_()


def test_printed_answers_are_one_line(small_run: Path) -> None:
    recommender = Recommender.load(small_run)
    for answer, says in (
        (
            recommender.recommend(HISTORIES * 50, 30),
            f"{50 * len(HISTORIES):,} lists of up to 30 it",
        ),
        (recommender.recommend([0, 1], 4), "4 items for a history of 2"),
        (recommender.item_vectors(), "30 of 8 numbers"),
        (recommender.user_interests(), "of 8 numbers"),
        (evaluate(small_run, split="valid"), "ndcg@10"),
    ):
        shown = repr(answer)
        assert says in shown and ".frame()" in shown, shown
        assert "\n" not in shown and len(shown) < 300


def test_the_package_is_imported_without_torch() -> None:
    program = (
        "import sys, miracle_core;"
        "assert not {'torch', 'polars', 'pandas'} & set(sys.modules);"
        "assert set(miracle_core.__all__) <= set(dir(miracle_core));"
        "miracle_core.Recommender;"
        "slow = {'scipy', 'pandas', 'transformers'} & set(sys.modules);"
        "assert not slow, f'every answer waits for {slow}';"
        "[getattr(miracle_core, name) for name in miracle_core.__all__];"
        "assert 'torch' in sys.modules and not hasattr(miracle_core, 'trian')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert registry.system("miracle").name == "miracle"
