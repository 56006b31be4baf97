"""Loading a run; names, users, capsules and how they are used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from miracle_core.data.dataset import Split
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.errors import InputError, MiracleError
from miracle_core.recommender import NewTitle, Recommender
from miracle_core.recommender.labels import characteristic_words, shortened, spelling
from miracle_core.recommender.titles import TitleIndex
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import load_run
from miracle_core.runs.tensors import load_tensors, save_tensors
from tests.support.runs import (
    FILAMENT,
    GLOVES,
    LENGTHS,
    MAX_LENGTH,
    TITLES,
    random_model,
    tiny_run,
    tiny_settings,
    tiny_shop,
    write_run,
)


@pytest.fixture(scope="module")
def small(small_run: Path) -> Recommender:
    return Recommender.load(small_run)


def test_answers_can_be_imported_without_torch() -> None:
    program = (
        "import sys, miracle_core.recommender.results, miracle_core.recommender as r;"
        "assert 'torch' not in sys.modules; r.Recommender; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_a_run_is(small: Recommender, small_run: Path) -> None:
    assert (small.run, small.mode) == (small_run, "transductive")
    assert (small.n_items, small.n_users) == (len(TITLES), len(LENGTHS))
    assert (small.n_capsules, small.max_length) == (7, MAX_LENGTH)
    assert (small.title(0), small.item_id(0)) == (GLOVES[0], "I00")
    assert small.text(0) == f"{GLOVES[0]}. a shop"
    assert (small.item("I07"), small.user("user-3"), small.user_id(3)) == (7, 3, "user-3")


@pytest.mark.parametrize(
    ("ask", "what", "remedy"),
    [
        (lambda r: r.item("i7"), "no item 'i7'", "did you mean I07"),
        (lambda r: r.item("zzz"), "no item 'zzz'", "ids look like I00"),
        (lambda r: r.user("User-3"), "no user 'User-3'", "did you mean user-3"),
        (lambda r: r.user_history("user3"), "no user 'user3'", "did you mean user-3"),
        (lambda r: r.activations(["user-3", "?"]), "no user '?'", "ids look like user-0"),
        (lambda r: r.user_history("user-3", "train"), "holds no item out", "test"),
        (lambda r: r.title(30), "no item 30", "0 to 29"),
        (lambda r: r.match("\n"), "title is empty", "type the title"),
    ],
)
def test_unknown_names_are_told(small: Recommender, ask: object, what: str, remedy: str) -> None:
    assert callable(ask)
    with pytest.raises(InputError, match=what.replace("?", r"\?")) as error:
        ask(small)
    assert remedy in str(error.value)


def test_match_takes_a_title_an_id_nearly_a_title_or_something_new(small: Recommender) -> None:
    def first(query: str) -> tuple[object, ...]:
        match = small.match(query)[0]
        return match.kind, match.item, match.item_id, match.title

    assert first(" petg  FILAMENT spool") == ("exact", 12, "I12", "PETG Filament Spool")
    assert first("I12") == ("id", 12, "I12", "PETG Filament Spool")
    assert first("petg filamnt spool") == ("fuzzy", 12, "I12", "PETG Filament Spool")
    assert first(" Kitchen\n knife ") == ("new", None, None, "Kitchen knife")
    assert small.match("petg filamnt spool")[0].similarity == pytest.approx(0.973, abs=0.01)
    assert (small.match("i12")[0].kind, small.match("I12")[0].similarity) == ("new", 1.0)
    several = small.match("Machine Scew Steel", limit=3)
    assert [match.kind for match in several] == ["fuzzy"] * 3
    assert all(match.title.startswith("Machine Screw M") for match in several)
    assert small.match("Machine Screw M7 Steel")[0].kind == "new"


def test_a_typed_title_is_cleaned_as_the_catalogues_are(small: Recommender) -> None:
    for typed, kind, title in (
        ("<b>PETG</b> Filament&nbsp;Spool", "exact", "PETG Filament Spool"),
        ("<i>petg</i> filamnt spool", "fuzzy", "PETG Filament Spool"),
        ("Pen&amp;notebook <br> \x1b[31mred", "new", "Pen&notebook red"),
        ("Tom &amp;amp; Jerry", "new", "Tom &amp; Jerry"),
    ):
        match = small.match(typed)[0]
        assert (match.kind, match.title) == (kind, title)
        if kind == "new":
            assert match.given == NewTitle(typed)  # it will be cleaned once, not twice
    with pytest.raises(InputError, match="nothing but page code"):
        small.match("<script>alert(1)</script>")
    vectors = [
        small.nearest(NewTitle(title), limit=5) for title in ("R&amp;D <b>kit</b>", "R&D kit")
    ]
    assert vectors[0] == vectors[1]


def test_completion_and_neighbours(small: Recommender) -> None:
    assert [small.title(item) for item in small.complete("filam dry")] == ["Filament Dryer"]
    near = small.nearest(0, limit=3)
    assert {small.title(n.item) for n in near} == set(GLOVES[1:4])
    assert [n.similarity for n in near] == sorted((n.similarity for n in near), reverse=True)
    assert len(small.nearest(0, limit=99)) == len(TITLES) - 1
    assert small.nearest(NewTitle("a new nitrile glove"), limit=1)[0].item in range(len(GLOVES))
    assert small.nearest(0, limit=0) == []


def test_user_histories(small: Recommender) -> None:
    whole = small.user_history("user-12")
    assert (whole.user, len(whole.items), whole.held_out) == (12, LENGTHS[12], None)
    assert small.user_history("user-12", "test").items == whole.items[:-1]
    assert small.user_history("user-12", "test").held_out == whole.items[-1]
    assert small.user_history("user-12", "valid").items == whole.items[:-2]
    assert small.user_history("user-12", "valid").held_out == whole.items[-2]
    assert len(small.user_history("user-1", "test").items) == 2
    assert small.user_history("user-1", "test").held_out is None


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """A run whose users' histories are cut in every way by a temporal split."""
    folder = tmp_path_factory.mktemp("temporal")
    shop = tiny_shop(folder / "shop")
    # For each user: the number of items, the start of validation, the start of the test part.
    parts = np.array([(6, 3, 4), (4, 0, 0), (5, 5, 5), (5, 2, 2), (3, 0, 2), (4, 2, 4)])
    starts = np.concatenate([[0], np.cumsum(parts[:, 0])])
    write_dataset(
        folder / "data",
        name="temporal",
        items=shop.items,
        user_ids=[f"user-{place}" for place in range(len(parts))],
        sequences=np.random.default_rng(3).integers(0, len(TITLES), starts[-1]).astype(np.int32),
        offsets=starts,
        sources=[],
        settings={},
        counts={},
        split="temporal",
        cuts=starts[:-1, None] + parts[:, 1:],
        times=np.arange(starts[-1]),
    )
    data = write_features(folder / "data", shop.features(), shop.feature_set().encoder)
    settings = tiny_settings(data=str(data.folder))
    return Recommender.load(write_run(folder / "run", data, settings, random_model(settings, data)))


def test_a_temporal_split_cuts_histories_where_it_says(temporal: Recommender) -> None:
    def found(split: Split) -> list[tuple[int, int | None]]:
        places = []
        for user in range(temporal.n_users):
            whole = temporal.user_history(f"user-{user}").items
            past = temporal.user_history(f"user-{user}", split)
            end = len(past.items)
            assert past.items == whole[:end]
            assert past.held_out in (None, *whole[end : end + 1])
            places.append((end, None if past.held_out is None else end))
        return places

    nothing, rest = (0, None), (5, None)
    assert found("test") == [(4, 4), nothing, rest, (2, 2), (2, 2), (4, None)]
    assert found("valid") == [(3, 3), nothing, rest, (2, None), nothing, (2, 2)]
    table, use = temporal.users(), temporal.capsule_use()
    assert table.lengths.tolist() == [4, 0, 5, 2, 2, 4]
    for user in range(temporal.n_users):
        past = temporal.user_history(f"user-{user}", "test")
        if past.held_out is None:
            assert (table.held_out[user], table.ranks[user], table.active[user]) == (-1, 0, 0)
            continue
        answer = temporal.recommend(past.items, target=past.held_out)
        assert answer.target is not None
        assert table.held_out[user] == past.held_out
        assert table.ranks[user] == answer.target.rank
        assert table.active[user] == len(answer.capsules)
    assert use.histogram[0] == 1, "the user with nothing before the test wakes no capsule"
    assert sum(use.histogram.values()) == temporal.n_users


def test_the_best_and_the_last_weights_of_a_run(small_run: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(small_run, run.path)
    plain = Recommender.load(run.path)
    assert (plain.weights, plain.epoch) == ("best", None)
    with pytest.raises(InputError, match="has no last weights"):
        Recommender.load(run.path, weights="last")
    weights, metadata = load_tensors(run.weights)
    changed = {f"model.{name}": tensor * 0.8 for name, tensor in weights.items()}
    save_tensors(run.state, changed, {**metadata, "position": orjson.dumps({"epoch": 30}).decode()})
    save_tensors(run.weights, weights, {**metadata, "epoch": "20"})
    best, last = (Recommender.load(run.path, weights=which) for which in ("best", "last"))
    assert (best.weights, best.epoch) == ("best", 20) == (Recommender.load(run.path).weights, 20)
    assert (last.weights, last.epoch) == ("last", 30)
    assert best.recommend([0]).items == plain.recommend([0]).items != last.recommend([0]).items
    run.weights.unlink()
    only = Recommender.load(run.path)
    assert (only.weights, only.epoch) == ("last", 30)
    with pytest.raises(InputError, match="has no best weights"):
        Recommender.load(run.path, weights="best")


def test_use_and_activations_count_what_recommend_says(small: Recommender) -> None:
    counts = np.zeros((small.n_users, small.n_capsules), dtype=int)
    for user in range(small.n_users):
        past = small.user_history(small.user_id(user), "test")
        for own in small.recommend(past.items).history:
            if own.capsule is not None:
                counts[user, own.capsule] += 1
    use = small.capsule_use()
    np.testing.assert_allclose(use.users, (counts > 0).mean(0))
    np.testing.assert_allclose(use.items, counts.sum(0) / counts.sum())
    active = (counts > 0).sum(1)
    assert use.mean == pytest.approx(active.mean())
    assert use.histogram == {int(k): int((active == k).sum()) for k in np.unique(active)}
    some = small.activations(["user-12", "user-0"])
    assert (some.users, some.user_ids) == ((12, 0), ("user-12", "user-0"))
    assert some.lengths.tolist() == [MAX_LENGTH, 1] == some.counts.sum(1).tolist()
    own = [item.capsule for item in small.recommend(small.user_history("user-12").items).history]
    assert some.counts[0].tolist() == [own.count(c) for c in range(small.n_capsules)]


def test_the_sample_of_users_spans_all_lengths(small: Recommender) -> None:
    sample = small.activations()
    assert len(sample.users) == len(set(sample.users)) == 12
    assert (sample.users[0], sample.users[-1]) == (0, 12)
    assert sample.lengths.tolist() == sorted(sample.lengths)


def test_a_capsules_items_are_those_that_wake_it_alone(small: Recommender) -> None:
    summaries = small.capsules()
    alone = small.item_capsules()
    assert [s.capsule for s in summaries] == list(range(small.n_capsules))
    for item in range(small.n_items):
        assert small.recommend([item]).history[0].capsule == alone[item]
    for summary in summaries:
        mine = set(np.flatnonzero(alone == summary.capsule).tolist())
        assert (summary.n_items, summary.share) == (len(mine), len(mine) / len(TITLES))
        assert set(summary.items) <= mine if mine else len(summary.items) == 10
        assert summary.label == small.label(summary.capsule)
        assert summary.label == " · ".join(summary.words) or not summary.words
        cosines = [cosine for _, cosine in summary.neighbours]
        assert cosines == sorted(cosines, reverse=True)
        assert summary.capsule not in [other for other, _ in summary.neighbours]
    assert {s.n_items for s in summaries} > {0}, "the fixture should have unused capsules too"


def test_neighbours_are_by_the_cosine_of_base_vectors(small: Recommender, small_run: Path) -> None:
    base = load_run(small_run).system.capsules.base.detach()
    cosines = torch.nn.functional.cosine_similarity(base[2:3], base)
    for other, cosine in small.capsules()[2].neighbours:
        assert cosine == pytest.approx(float(cosines[other]), abs=1e-6)
    assert small.capsules()[2].neighbours[0][1] == pytest.approx(
        float(cosines[torch.arange(7) != 2].max()), abs=1e-6
    )


def test_characteristic_words() -> None:
    titles = [*GLOVES, *FILAMENT, "Café Crème", "café"]
    index = TitleIndex(titles, np.zeros(len(titles), dtype=np.int64)).index

    def words(members: list[int]) -> list[str]:
        flags = np.zeros(len(titles), dtype=np.bool_)
        flags[members] = True
        return characteristic_words(index, flags)

    assert words(list(range(8))) == ["glove", "free", "nitrile"]  # box and large are too common
    assert words(list(range(8, 16)))[0] == "filament"
    assert "mm" not in words(list(range(8, 16)))  # too short to mean anything
    assert words([16, 17]) == ["cafe"]  # creme is in one title only
    assert words([16]) == ["creme", "cafe"]
    assert words([]) == []
    assert words(list(range(len(titles)))) == []  # no word is more frequent than overall
    assert spelling("cafe", "The CAFÉ, open") == "café"
    assert spelling("absent", "The CAFÉ, open") == "absent"
    assert shortened("a  b\n c") == "a b c"
    assert shortened("w" * 99) == "w" * 31 + "…"


def test_without_its_encoder_a_run_still_knows_its_catalogue(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path)
    manifest = folder / "data" / "manifest.json"
    told = orjson.loads(manifest.read_bytes())
    told["features"]["hashing:32"]["encoder"]["revision"] = "another"
    manifest.write_bytes(orjson.dumps(told))
    recommender = Recommender.load(folder)
    assert recommender.recommend([0]).items
    with pytest.raises(
        InputError, match=r"new titles can't be encoded: .*another revision"
    ) as error:
        recommender.recommend([0, NewTitle("something new")])
    assert "titles and ids of the catalogue work without it" in str(error.value)


def test_damaged_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run folder"):
        Recommender.load(tmp_path / "nowhere")
    folder = RunFolder(tiny_run(tmp_path))
    tensors, metadata = load_tensors(folder.weights)
    tensors["identity"][3, 3] = torch.nan
    save_tensors(folder.weights, tensors, metadata)
    with pytest.raises(MiracleError, match="not finite: its training diverged"):
        Recommender.load(folder.path)
    folder.weights.write_bytes(folder.weights.read_bytes()[:100])
    with pytest.raises(InputError, match="safetensors"):
        Recommender.load(folder.path)
