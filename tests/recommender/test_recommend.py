"""The Recommender's numbers compared with the model's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from miracle_core.data.packed import pack_lists
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.layers.radial import squash
from miracle_core.recommender import ItemId, NewTitle, Recommender
from miracle_core.recommender.results import Recommendation
from miracle_core.runs.opening import TrainedRun, load_run
from miracle_core.systems.miracle.miracle import Miracle
from tests.support.runs import MAX_LENGTH, TITLES, random_model, tiny_run, tiny_settings, write_run
from tests.support.runs import tiny_shop as make_shop

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
KINDS = [
    {},
    {"train__mode": "inductive"},
    {"model__score": "inner", "model__temperature": 1.0},
    {"seen": "as-printed"},
    {"model__agreement": "q", "model__iterations": 1},
    {"model__positional": False, "model__text_scale": "raw"},
]


@pytest.fixture(scope="module", params=range(len(KINDS)), ids=lambda n: " ".join(KINDS[n]) or "-")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return load_run(tiny_run(tmp_path_factory.mktemp("run"), **KINDS[request.param]))


@pytest.fixture(scope="module")
def small(small_run: Path) -> Recommender:
    return Recommender.load(small_run)


def miracle_of(run: TrainedRun) -> Miracle:
    assert isinstance(run.system, Miracle)
    return run.system


def gain_of(model: Miracle) -> float:
    gain = model.gain()
    return 0.0 if gain is None else float(gain)


HISTORIES = [[0], [5, 17, 29], [8, 8, 20, 1], [3, 14, 15, 9, 26, 5], [27, 1, 8, 2, 8, 1, 8, 28]]


@torch.inference_mode()
def test_as_the_model_says_of_all_histories_in_one_batch(run: TrainedRun) -> None:
    recommender = Recommender(run)
    model = miracle_of(run)
    x = model.inputs(run.items)
    packed = pack_lists(HISTORIES, MAX_LENGTH)
    output = model(x[packed.items], packed)
    interests = output.interests.replace_vectors(model.user_vectors(output))
    tokens = np.split(output.activated.numpy(), np.cumsum(packed_lengths(packed.groups))[:-1])
    row = 0
    for place, k in zip(interests.users.tolist(), interests.counts().tolist(), strict=True):
        history = HISTORIES[packed.order[place]]
        found = recommender.recommend(history, top_k=len(TITLES))
        rows = slice(row, row + k)
        row += k
        strengths = dict(
            zip(
                interests.which[rows].tolist(),
                output.interests.vectors[rows].norm(dim=1).tolist(),
                strict=True,
            )
        )
        assert {c.capsule: c.strength for c in found.capsules} == pytest.approx(strengths, rel=1e-4)
        scores = interests.vectors[rows] @ model.candidates(x).T
        best = scores.amax(0).numpy()
        had = sorted(set(history[-MAX_LENGTH:]))
        best[had] += gain_of(model)
        assert (gain_of(model) != 0.0) == (run.settings.seen == "gain")
        assert [item.item for item in found.items] == list(np.argsort(-best, kind="stable"))
        for item in found.items:
            own = dict(zip(interests.which[rows].tolist(), scores[:, item.item], strict=True))
            np.testing.assert_allclose(item.score, best[item.item], **CLOSE)
            np.testing.assert_allclose(
                item.scores, [own[c.capsule] for c in found.capsules], **CLOSE
            )
            assert item.capsule == max(own, key=lambda capsule: float(own[capsule]))
        read = [own.capsule for own in found.history[-MAX_LENGTH:]]
        assert read == tokens[place].tolist()


def packed_lengths(groups: tuple[tuple[int, int], ...]) -> list[int]:
    return [length for length, count in groups for _ in range(count)]


@torch.inference_mode()
def test_the_trace_rebuilds_interests_and_scores(run: TrainedRun) -> None:
    recommender, model = Recommender(run), miracle_of(run)
    x = model.inputs(run.items)
    for history in HISTORIES:
        found = recommender.recommend(history)
        trace = found.trace
        assert trace is not None
        n, k = trace.routing.shape
        assert (n, k) == (min(len(history), MAX_LENGTH), len(found.capsules))
        assert trace.similarity.shape == (n, recommender.n_capsules)
        np.testing.assert_allclose(trace.routing.sum(1), np.ones(n), **CLOSE)
        np.testing.assert_allclose(trace.importance.sum(), 1, **CLOSE)
        if not model.settings.positional:
            np.testing.assert_allclose(trace.importance, np.full(n, 1 / n), **CLOSE)
        packed = pack_lists([history], MAX_LENGTH)
        H = model.context(x[packed.items], packed)
        output = model.capsules(H, packed)
        q = model.capsules.features(H)
        order = [output.interests.which.tolist().index(c.capsule) for c in found.capsules]
        u = output.interests.vectors[order]
        z = torch.from_numpy(trace.routing * trace.importance[:, None]).T @ q
        np.testing.assert_allclose(squash(z), u, **CLOSE)
        agreeing = H if model.settings.agreement == "h" else q
        np.testing.assert_allclose(trace.agreement, agreeing @ u.T, **CLOSE)
        np.testing.assert_allclose(trace.similarity, output.similarity, **CLOSE)
        for item in found.items:
            assert len(item.contributions) == n
            repeat = gain_of(model) if item.item in history[-MAX_LENGTH:] else 0.0
            assert item.repeat == pytest.approx(repeat)
            np.testing.assert_allclose(sum(item.contributions) + repeat, item.score, **CLOSE)


def test_interests_are_strongest_first_and_share_the_history_out(run: TrainedRun) -> None:
    found = Recommender(run).recommend(HISTORIES[3])
    strengths = [capsule.strength for capsule in found.capsules]
    assert strengths == sorted(strengths, reverse=True)
    assert all(0 < strength < 1 for strength in strengths)
    places = sorted(place for capsule in found.capsules for place in capsule.items)
    assert places == list(range(len(HISTORIES[3])))
    for capsule in found.capsules:
        assert {found.history[place].capsule for place in capsule.items} == {capsule.capsule}


def test_each_interest_names_the_items_it_won(small: Recommender) -> None:
    found = small.recommend(HISTORIES[3], top_k=len(TITLES))
    assert len(found.capsules) > 1
    for capsule in found.capsules:
        assert capsule.best == tuple(i for i in found.items if i.capsule == capsule.capsule)
    few = small.recommend(HISTORIES[3], top_k=2)
    assert few.items == found.items[:2]
    assert [c.best for c in few.capsules] == [c.best[:2] for c in found.capsules]
    one = small.recommend(HISTORIES[3], top_k=5, of_each=1)
    assert one.items == found.items[:5]
    assert [c.best for c in one.capsules] == [c.best[:1] for c in found.capsules]
    with pytest.raises(InputError, match="of_each is 0"):
        small.recommend(HISTORIES[3], of_each=0)


def test_only_the_newest_items_are_read(small: Recommender) -> None:
    long = [4, 22, *HISTORIES[3]]
    whole, newest = small.recommend(long), small.recommend(long[-MAX_LENGTH:])
    assert whole.items == newest.items
    assert whole.trace is not None and newest.trace is not None
    assert whole.trace.first == whole.first == 2
    np.testing.assert_array_equal(whole.trace.routing, newest.trace.routing)
    assert [own.item for own in whole.history] == long
    assert [own.capsule for own in whole.history][:2] == [None, None]
    assert [own.capsule for own in whole.history][2:] == [own.capsule for own in newest.history]
    assert [c.items for c in whole.capsules] == [
        tuple(place + 2 for place in c.items) for c in newest.capsules
    ]


def test_seen_items_can_be_left_out(small: Recommender) -> None:
    long = [4, 22, *HISTORIES[3]]
    everything = small.recommend(long, top_k=99)
    assert sorted(item.item for item in everything.items) == list(range(len(TITLES)))
    assert [item.rank for item in everything.items] == list(range(1, len(TITLES) + 1))
    unseen = small.recommend(long, top_k=99, seen="leave-out", target=4)
    assert [i.item for i in unseen.items] == [
        i.item for i in everything.items if i.item not in long
    ]
    assert [i.rank for i in unseen.items] == list(range(1, len(unseen.items) + 1))
    assert unseen.target is not None
    assert (unseen.target.item, unseen.target.rank) == (4, 0)
    nothing = small.recommend(range(len(TITLES)), seen="leave-out")
    assert nothing.items == ()
    assert all(capsule.best == () for capsule in nothing.capsules)


def test_a_target_is_ranked_among_all(small: Recommender) -> None:
    everything = small.recommend(HISTORIES[1], top_k=99).items
    for item in everything:
        assert small.recommend(HISTORIES[1], top_k=1, target=item.item).target == item


def test_held_out_items_rank_as_in_evaluation(small: Recommender, small_run: Path) -> None:
    run = load_run(small_run)
    found = evaluate(run.scorer(), run.dataset, "test")
    table = small.users()
    for user in range(small.n_users):
        past = small.user_history(small.user_id(user), "test")
        assert table.lengths[user] == len(past.items)
        if past.held_out is None:
            assert (table.active[user], table.held_out[user], table.ranks[user]) == (0, -1, 0)
            assert user not in found.users
            continue
        place = found.users.tolist().index(user)
        answer = small.recommend(past.items, target=past.held_out)
        assert answer.target is not None
        assert answer.target.rank == found.ranks[place] == table.ranks[user]
        assert past.held_out == found.targets[place] == table.held_out[user]
        assert len(answer.capsules) == found.active[place] == table.active[user]


def same(a: Recommendation, b: Recommendation) -> None:
    assert [item.item for item in a.items] == [item.item for item in b.items]
    np.testing.assert_allclose([i.score for i in a.items], [i.score for i in b.items], **CLOSE)


def test_a_new_item_is_its_text_alone(tmp_path: Path) -> None:
    dataset = make_shop(tmp_path / "data")
    text = str(dataset.items["text"][20])
    # A new title is not a catalogue item, so no score gets the gain for repeats.
    settings = tiny_settings(data=str(tmp_path / "data"), seen="as-printed")
    model = random_model(settings, dataset)
    transductive = Recommender.load(write_run(tmp_path / "a", dataset, settings, model))
    told = transductive.recommend([3, NewTitle(text)], top_k=30)
    assert [own.new for own in told.history] == [False, True]
    assert (told.history[1].item_id, told.history[1].title) == (None, text)
    known = transductive.recommend([3, 20], top_k=30)
    assert [i.score for i in told.items] != pytest.approx([i.score for i in known.items])
    # Without its ID embedding, the known item is its text alone, too.
    assert model.identity is not None
    with torch.no_grad():
        model.identity[20] = 0
    bare = Recommender.load(write_run(tmp_path / "b", dataset, settings, model))
    same(bare.recommend([3, NewTitle(text)], top_k=30), bare.recommend([3, 20], top_k=30))


def test_in_an_inductive_run_a_new_item_is_like_any_other(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, train__mode="inductive", seen="as-printed")
    recommender = Recommender.load(run)
    text = NewTitle(recommender.text(11))
    same(recommender.recommend([text], top_k=30), recommender.recommend([11], top_k=30))
    assert recommender.nearest(text, 1)[0].item == 11
    assert recommender.nearest(text, 1)[0].similarity == pytest.approx(1)


def test_bad_histories_are_refused(small: Recommender) -> None:
    for history, what in (
        ([], "is empty"),
        ([0, NewTitle(" \t")], "item 2 of the history: a title is empty"),
        ([NewTitle("\u200b")], "title is empty"),
        ([NewTitle("\udcff")], "not valid UTF-8"),
        ([len(TITLES)], "there is no item 30"),
        ([-1], "there is no item -1"),
    ):
        with pytest.raises(InputError, match=what):
            small.recommend(history)
    with pytest.raises(InputError, match="top_k is 0"):
        small.recommend([0], top_k=0)
    with pytest.raises(InputError, match="there is no item 99"):
        small.recommend([0], target=99)


def test_the_type_says_whether_an_item_is_an_index_an_id_or_a_new_title(
    small: Recommender,
) -> None:
    known = small.recommend([7, 3])
    for history in (
        [ItemId("I07"), ItemId("I03")],
        (np.int64(7), np.uint8(3)),
        np.array([7, 3], dtype=np.int32),
        [small.match("I07")[0].given, small.match(TITLES[3])[0].given],
        iter([7, ItemId("I03")]),
    ):
        assert small.recommend(history).items == known.items
    # A NewTitle is a new title, even if its text equals an id.
    new = small.recommend([NewTitle("I07")])
    assert new.history[0].new
    assert new.history[0].title == "I07"
    assert small.match("a glove")[0].given == NewTitle("a glove")
    assert small.nearest(ItemId("I07")) == small.nearest(7) == small.nearest(np.int64(7))


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ("I07", r"'I07' \(str\) does not say whether it is an id or a title"),
        (TITLES[3], "does not say whether"),
        ("nothing like it", "does not say whether"),
        (np.str_("I07"), "does not say whether"),
        (b"I07", r"b'I07' \(bytes\) is not an index"),
        (3.0, r"3\.0 \(float\) is not an index"),
        (np.float32(3), "is not an index"),
        (float("nan"), "is not an index"),
        (True, r"True \(bool\) is not an index"),
        (np.True_, "is not an index"),
        (None, "None .* is not an index"),
        (torch.tensor(3), "is not an index"),
        ([3], "is not an index"),
        (ItemId("i07"), "no item 'i07'"),
        (np.int64(99), "no item 99"),
    ],
)
def test_items_that_do_not_say_what_they_are_are_refused(
    small: Recommender, item: object, what: str
) -> None:
    with pytest.raises(InputError, match="item 2 of the history: .*" + what.lstrip("^")):
        small.recommend([0, item])  # type: ignore[list-item]
    with pytest.raises(InputError, match=what):
        small.nearest(item)  # type: ignore[arg-type]
    if not isinstance(item, ItemId):
        for ask in (small.title, small.item_id, small.text):
            with pytest.raises(InputError):
                ask(item)  # type: ignore[arg-type]
        with pytest.raises(InputError):
            small.recommend([0], target=item or "")  # type: ignore[arg-type]


@pytest.mark.parametrize("history", ["12", b"12", {3, 5}, {3: 1}, 3, None, ItemId("I03")])
def test_a_history_is_an_ordered_collection(small: Recommender, history: object) -> None:
    with pytest.raises(InputError, match="the history must be a list"):
        small.recommend(history)  # type: ignore[arg-type]


def test_ids_and_titles_are_text(small: Recommender) -> None:
    for make in (ItemId, NewTitle):
        for value in (7, None, b"I07", True):
            with pytest.raises(InputError, match="must be text"):
                make(value)  # type: ignore[arg-type]
    for ask in (small.item, small.user, small.user_history, small.match):
        with pytest.raises(InputError, match="must be text, not 3"):
            ask(3)  # type: ignore[operator]
    with pytest.raises(InputError, match="the users must be a list"):
        small.activations("user-3")
    for place in (-1, small.n_users, True, 1.0, "user-3"):
        with pytest.raises(InputError):
            small.user_id(place)  # type: ignore[arg-type]
    for capsule in (-1, small.n_capsules, True, 1.0):
        with pytest.raises(InputError):
            small.label(capsule)  # type: ignore[arg-type]
    assert small.user_id(np.int64(3)) == "user-3"
