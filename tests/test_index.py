"""Approximate search, and what is cached for a catalogue between commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miracle_cli.main import main
from miracle_core.config import SeenRule
from miracle_core.errors import InputError
from miracle_core.index import store, vectors
from miracle_core.index.key import catalogue_key
from miracle_core.index.search import FLAT_BELOW, Index, build, kind_for
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.walk import best_items
from miracle_core.recommender import NewTitle, Recommender
from miracle_core.runs.opening import data_hash, load_run
from miracle_core.runs.tensors import save_tensors
from miracle_core.systems.miracle.miracle import Miracle
from tests.support.runs import tiny_run
from tests.support.systems import trained

pytest.importorskip("faiss", reason="the extra faiss is not installed")

Capture = pytest.CaptureFixture[str]
N_ITEMS = 30


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tiny_run(tmp_path)


def clustered(n_items: int, width: int = 12, seed: int = 0) -> tuple[torch.Tensor, Interests]:
    """Item vectors in clusters, and 40 users with 1 to 3 interests near some of them."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(20, width, generator=generator)
    of_item = torch.randint(0, 20, (n_items,), generator=generator)
    items = centres[of_item] + 0.5 * torch.randn(n_items, width, generator=generator)
    groups = ((1, 10), (2, 20), (3, 10))
    rows = sum(k * n for k, n in groups)
    picked = items[torch.randint(0, n_items, (rows,), generator=generator)]
    near = picked + 0.2 * torch.randn(rows, width, generator=generator)
    return items, Interests(near, torch.zeros(rows, dtype=torch.int64), torch.arange(40), groups)


def change_weights(run: Path, name: str = "identity") -> None:
    loaded = load_run(run)
    with torch.no_grad():
        loaded.system.get_parameter(name)[0, 0] += 0.5
    data = data_hash(loaded.settings, loaded.dataset)
    save_tensors(loaded.folder.weights, loaded.system.state_dict(), {"data": data})


def opened(run: Path) -> tuple[Index, store.IndexRecord]:
    loaded = load_run(run)
    return store.open_index(loaded, store.vector_scorer(loaded).items.shape[1])


# Searching.


def test_an_index_that_compares_everything_finds_what_the_exact_search_finds() -> None:
    items, interests = clustered(500)
    index = build(items, "Flat")
    for k in (1, 7, 500):
        scores, found = index.best_items(interests, items, k)
        exact_scores, exact = best_items(interests, items, k)
        assert torch.equal(found, exact)
        torch.testing.assert_close(scores, exact_scores)


def test_items_that_tie_with_the_last_are_those_of_the_exact_search() -> None:
    """As in a catalogue with equal titles, where one interest is nearest to all of them."""
    some, interests = clustered(50)
    items = some.repeat(10, 1)
    for kind in ("Flat", "IVF8,Flat"):
        index = build(items, kind)
        index.probes = index.lists
        for k in (1, 7, 10, 499, 500):
            assert torch.equal(
                index.best_items(interests, items, k)[1], best_items(interests, items, k)[1]
            )


def test_recall_rises_with_the_lists_looked_into() -> None:
    items, interests = clustered(3000)
    exact = store.exact_best(interests, items, 50)
    index = build(items, "IVF40,Flat")
    recall = {}
    for probes in (1, 5, 40):
        index.probes = probes
        recall[probes] = store.recall_of(index, interests, items, exact)
    assert recall[1] < recall[5] < recall[40] == 1.0


def test_scores_are_exact_where_items_are_missed() -> None:
    items, interests = clustered(3000)
    scores, found = build(items, "IVF40,Flat").best_items(interests, items, 50)
    every = interests.vectors @ items.T
    row = 0
    user = 0
    for k, n in interests.groups:
        for _ in range(n):
            best = every[row : row + k].amax(0)
            torch.testing.assert_close(scores[user], best[found[user]])
            row, user = row + k, user + 1


def test_lists_that_hold_too_few_are_made_up_for() -> None:
    items, interests = clustered(300)
    index = build(items, "IVF100,Flat")
    assert index.probes == 1
    found = index.nearest(interests.vectors, 200)
    assert (found >= 0).all()
    assert all(len(set(row)) == 200 for row in found.tolist())


def test_recall_counts_what_both_found() -> None:
    class Half(Index):
        def best_items(
            self, interests: Interests, candidates: torch.Tensor, k: int
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.zeros(2, 4), torch.tensor([[9, 3, 1, 8], [0, 1, 2, 3]])

    _, interests = clustered(100)
    exact = torch.tensor([[1, 2, 3, 4], [3, 2, 1, 0]])
    assert store.recall_of(Half(None), interests, torch.empty(0), exact) == 0.75


def test_an_item_above_the_floor_has_its_true_rank() -> None:
    items, interests = clustered(2000)
    index = build(items, "Flat")
    user = interests.vectors[-3:]
    found = index.find(user, items, 20)
    best = (user @ items.T).amax(0)
    sure = found.items[best[found.items] >= found.floor]
    assert len(sure) >= 20
    assert len(found.items) > len(sure)  # some found items are below the floor
    order = best.argsort(descending=True)
    assert set(order[: len(sure)].tolist()) == set(sure.tolist())


def test_the_kind_follows_the_size() -> None:
    assert kind_for(FLAT_BELOW - 1) == "Flat"
    assert kind_for(1_000_000) == "IVF4000,Flat"


@pytest.mark.parametrize("first", ["torch", "faiss"])
def test_torch_and_faiss_run_their_threads_in_one_process(first: str) -> None:
    second = {"torch": "faiss", "faiss": "torch"}[first]
    code = f"""
import {first}, {second}, numpy
from concurrent.futures import ThreadPoolExecutor
torch.set_num_threads(2); faiss.omp_set_num_threads(2)
x = numpy.random.default_rng(0).standard_normal((4000, 64)).astype("float32")
index = faiss.IndexFlatIP(64); index.add(x)
def both(_):
    a = torch.from_numpy(x) @ torch.from_numpy(x[:300]).T
    scores, found = index.search(x[:300], 1)
    return bool((numpy.abs(scores[:, 0] - a.amax(0).numpy()) < 1e-3).all())
print(all(ThreadPoolExecutor(2).map(both, range(6))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


# In a run folder.


@pytest.mark.parametrize("seen", [None, "leave-out"])
@pytest.mark.parametrize("score", ["inner", "cosine"])
def test_a_recommendation_by_index_is_the_exact_one(
    tmp_path: Path, score: str, seen: SeenRule | None
) -> None:
    run = tiny_run(tmp_path, model__score=score)
    store.build_index(load_run(run))
    recommender = Recommender.load(run)
    for history in ([0], [0, 9, 17], [5, NewTitle("a new glove"), 20, 1, 2, 3, 4, 28]):
        exact = recommender.recommend(history, 5, seen)
        found = recommender.recommend(history, 5, seen, approximate=True)
        assert [(i.rank, i.item, i.capsule) for i in found.items] == [
            (i.rank, i.item, i.capsule) for i in exact.items
        ]
        for one, other in zip(found.items, exact.items, strict=True):
            assert one.scores == pytest.approx(other.scores, rel=1e-4, abs=1e-5)
            assert one.contributions == pytest.approx(other.contributions, rel=1e-4, abs=1e-5)
        ranks = {
            item.item: item.rank
            for capsule in recommender.recommend(history, N_ITEMS, seen).capsules
            for item in capsule.best
        }
        for capsule in found.capsules:
            for item in capsule.best:
                assert item.rank == ranks[item.item]


def test_the_record_says_what_was_built(run: Path) -> None:
    record = store.build_index(load_run(run))
    assert json.loads((run / "index.json").read_text()) == record.model_dump()
    assert record.recall == {"10": 1.0, "100": 1.0}
    assert (record.kind, record.items, record.probes) == ("Flat", N_ITEMS, 0)
    assert record.bytes == (run / "index.faiss").stat().st_size
    index, again = opened(run)
    assert (again, index.n_items) == (record, N_ITEMS)


def test_lists_are_looked_into_until_the_recall_is_what_is_wanted(run: Path) -> None:
    record = store.build_index(load_run(run), kind="IVF8,Flat")
    index, _ = opened(run)
    assert (index.lists, index.probes) == (8, record.probes)
    # The top 100 of 30 items are all items, so every list must be searched.
    assert record.recall["100"] == 1.0


@pytest.mark.parametrize("name", ["identity", "capsules.base"])
def test_an_index_of_other_weights_is_refused(run: Path, name: str) -> None:
    store.build_index(load_run(run))
    change_weights(run, name)
    with pytest.raises(InputError, match="other weights") as caught:
        Recommender.load(run).recommend([0], approximate=True)
    assert f"miracle index {run}" in str(caught.value.remedy)
    store.build_index(load_run(run))
    Recommender.load(run).recommend([0], approximate=True)


def test_the_key_changes_with_all_that_vectors_depend_on(tmp_path: Path) -> None:
    keys = [
        catalogue_key(load_run(tiny_run(tmp_path / str(place), **changes)))
        for place, changes in enumerate(
            ({}, {"model__text_scale": "raw"}, {"model__score": "inner"}, {"train__seed": 4})
        )
    ]
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "other"])
def test_faiss_never_reads_a_file_that_is_not_the_recorded_one(
    run: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import faiss

    store.build_index(load_run(run))
    path = run / "index.faiss"
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "other":
        faiss.write_index(faiss.IndexFlatIP(3), str(path))
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content[:-1] if damage == "cut" else content)
    monkeypatch.setattr(faiss, "read_index", lambda name: pytest.fail(f"read {name}"))
    with pytest.raises(InputError, match="not the one that its record describes"):
        opened(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layout": 2}, "layout 2"),
        ({"probes": 3}, "not the one that its record describes"),
        ({"items": "30"}, "not an index record"),
        ({"more": 1}, "not an index record"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    run: Path, change: dict[str, Any], said: str
) -> None:
    store.build_index(load_run(run))
    path = run / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=said):
        opened(run)


def test_a_build_that_fails_leaves_the_old_index(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import faiss

    store.build_index(load_run(run))

    def full_disk(index: object, name: str) -> None:
        Path(name).write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(faiss, "write_index", full_disk)
    with pytest.raises(RuntimeError, match="disk full"):
        store.build_index(load_run(run), kind="IVF4,Flat")
    _, record = opened(run)
    assert record.kind == "Flat"
    assert not list(run.glob(".index*"))


# Cached item vectors.


@pytest.fixture
def keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "KEPT_FROM", 1)


def forbid_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Miracle, "inputs", lambda *_: pytest.fail("computed again"))


@pytest.mark.usefixtures("keep_all")
def test_kept_vectors_are_read_and_are_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_run(run)
    direct = loaded.system.scorer(loaded.items).inputs
    first = Recommender.load(run).recommend([0, 9], 5)
    forbid_computing(monkeypatch)
    assert torch.equal(vectors.catalogue_vectors(load_run(run)), direct)
    again = Recommender.load(run).recommend([0, 9], 5)
    assert again.items == first.items
    np.testing.assert_array_equal(again.trace.routing, first.trace.routing)


@pytest.mark.usefixtures("keep_all")
@pytest.mark.parametrize("how", ["weights", "damage", "key"])
def test_kept_vectors_that_do_not_fit_are_computed_again(run: Path, how: str) -> None:
    loaded = load_run(run)
    before = vectors.catalogue_vectors(loaded)
    path = run / vectors.FILE
    written = path.read_bytes()
    if how == "weights":
        change_weights(run)
    elif how == "damage":
        path.write_bytes(written[: len(written) // 2])
    else:
        path.write_bytes(written.replace(catalogue_key(loaded).encode(), b"0" * 64))
    loaded = load_run(run)
    now = vectors.catalogue_vectors(loaded)
    with torch.inference_mode():
        assert torch.equal(now, loaded.system.inputs(loaded.items))
    assert torch.equal(now, before) == (how != "weights")
    assert (path.read_bytes() == written) == (how != "weights")


@pytest.mark.usefixtures("keep_all")
def test_a_run_that_cannot_be_written_to_still_answers(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(vectors, "save_tensors", read_only)
    assert len(Recommender.load(run).recommend([0], 3).items) == 3
    assert not (run / vectors.FILE).exists()


def test_a_small_catalogue_leaves_no_file(run: Path) -> None:
    Recommender.load(run)
    assert not (run / vectors.FILE).exists()


# From the shell.


def test_index_and_recommend_from_the_shell(run: Path, capsys: Capture) -> None:
    assert main(["index", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == str(run)
    assert (told["kind"], told["recall"]) == ("Flat", {"10": 1.0, "100": 1.0})
    assert main(["recommend", str(run), "--item", "I03", "--json"]) == 0
    exact = json.loads(capsys.readouterr().out)
    assert main(["recommend", str(run), "--item", "I03", "--index", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [i["item_id"] for i in found["items"]] == [i["item_id"] for i in exact["items"]]
    assert main(["index", str(run)]) == 0
    said = capsys.readouterr()
    assert "recall@10 of the exact search" in said.out
    assert "compares everything" in said.err


def test_the_items_of_an_index_may_be_weights(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path, "sasrec")
    assert main(["index", str(run)]) == 0
    words = ["recommend", str(run), "--user", "user-9", "--json"]
    capsys.readouterr()
    found = []
    for how in ([], ["--index"]):
        assert main([*words, *how]) == 0
        items = json.loads(capsys.readouterr().out)["items"]
        found.append([item["item_id"] for item in items])
    assert found[0] == found[1] != []


def test_what_an_index_cannot_do_is_said(run: Path, capsys: Capture) -> None:
    assert main(["recommend", str(run), "--item", "I03", "--index"]) == 2
    assert f"miracle index {run}" in capsys.readouterr().err
    assert main(["recommend", str(run), "--user", "user-9", "--held-out", "--index"]) == 2
    assert "--held-out" in capsys.readouterr().err
    with pytest.raises(InputError, match="rank"):
        Recommender.load(run).recommend([0], target=3, approximate=True)


def test_without_faiss_the_extra_is_named(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.build_index(load_run(run))
    monkeypatch.setitem(sys.modules, "faiss", None)
    for args in (["index", str(run)], ["recommend", str(run), "--item", "I03", "--index"]):
        assert main(args) == 2
        said = capsys.readouterr()
        assert "pip install faiss-cpu " in said.err
        assert said.out == ""
    assert main(["recommend", str(run), "--item", "I03"]) == 0


def test_an_index_may_be_copied_with_its_run(run: Path, tmp_path: Path) -> None:
    store.build_index(load_run(run))
    shutil.copytree(run, tmp_path / "moved")
    assert opened(tmp_path / "moved")[0].n_items == N_ITEMS


def test_probes_are_chosen_for_small_and_large_top_k() -> None:
    items, interests = clustered(6000)
    index = build(items, "IVF100,Flat")
    store.choose_probes(index, interests, items)
    assert 1 < index.probes < 100
    for k in store.RECALL_AT:
        exact = store.exact_best(interests, items, k)
        assert store.recall_of(index, interests, items, exact) >= store.WANTED_RECALL
