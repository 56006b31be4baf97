"""ItemKNN compared with plain counting; its scores and its files."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from miracle_core.config import make_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.packed import pack_lists
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.recommender import NewTitle, Recommender
from miracle_core.runs.opening import load_run
from miracle_core.runs.tensors import load_tensors, save_tensors
from miracle_core.systems.itemknn import similarities, system
from miracle_core.systems.itemknn.similarities import nearest, training_matrix
from miracle_core.systems.itemknn.system import NeighbourScorer
from miracle_core.training.finetuning import finetune
from tests.support.runs import tiny_shop
from tests.support.scorers import fitted_scorer

SETTINGS = settings(max_examples=30, deadline=None, derandomize=True)


def plain(taken: np.ndarray, neighbours: int, shrink: float) -> np.ndarray:
    """The similarities by their definition, one pair at a time."""
    n = taken.shape[1]
    users = [set(np.flatnonzero(taken[:, item]).tolist()) for item in range(n)]
    found = np.zeros((n, n))
    for i in range(n):
        row = {}
        for j in range(n):
            both = len(users[i] & users[j])
            if i != j and both:
                row[j] = both / (math.sqrt(len(users[i]) * len(users[j])) + shrink)
        for j in sorted(row, key=lambda j: (-row[j], j))[:neighbours]:
            found[i, j] = row[j]
    return found


@SETTINGS
@given(
    seed=st.integers(0, 2**32 - 1),
    n_users=st.integers(1, 9),
    n_items=st.integers(1, 9),
    neighbours=st.integers(1, 5),
    shrink=st.sampled_from([0.0, 1.0, 10.0]),
    block=st.sampled_from([1, 3, 4096]),
)
def test_similarities_are_the_definition(seed, n_users, n_items, neighbours, shrink, block):
    taken = (np.random.default_rng(seed).random((n_users, n_items)) < 0.4).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarities, "BLOCK_ITEMS", block)
        found = nearest(sparse.csr_array(taken), neighbours, shrink)
    np.testing.assert_allclose(found.toarray(), plain(taken, neighbours, shrink), rtol=1e-6)


@SETTINGS
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    chunk=st.sampled_from([1, 20, 1 << 24]),
)
def test_scores_are_sums_over_the_whole_history(seed, lengths, chunk):
    rng = np.random.default_rng(seed)
    similar = np.where(rng.random((8, 8)) < 0.5, rng.random((8, 8)), 0).astype(np.float32)
    histories = [rng.integers(0, 8, length).tolist() for length in lengths]
    packed = pack_lists(histories, max(lengths))
    scorer = NeighbourScorer(sparse.csr_array(similar), torch.device("cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system, "CHUNK_ELEMENTS", chunk)
        parts = list(scorer.scores(packed).chunks)
    places = torch.cat([place for place, _ in parts])
    scores = torch.cat([score for _, score in parts])
    assert places.tolist() == list(range(len(histories)))
    for place, row in zip(places.tolist(), scores, strict=True):
        history = histories[int(packed.order[place])]
        expected = sum(similar[item] for item in set(history))
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)
        explained = scorer.explain(history)
        np.testing.assert_allclose(explained.each()[0], expected, rtol=1e-5, atol=1e-6)
        every = torch.arange(8)
        parts_of = explained.contributions(every, torch.zeros_like(every))
        assert parts_of.shape == (len(history), 8)
        np.testing.assert_allclose(parts_of.sum(0), expected, rtol=1e-5, atol=1e-6)


def test_only_the_training_part_is_counted(tmp_path: Path) -> None:
    dataset = tiny_shop(tmp_path / "data")
    taken = training_matrix(dataset).toarray()
    for user in range(dataset.n_users):
        own = set(dataset.sequences[dataset.offsets[user] : dataset.cuts[user, 0]].tolist())
        assert set(np.flatnonzero(taken[user]).tolist()) == own
    assert set(np.unique(taken).tolist()) <= {0.0, 1.0}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tiny_shop(tmp_path / "data")
    asked = {"data": str(tmp_path / "data"), "model": {"kind": "itemknn", "neighbours": 5}}
    finetune(make_settings(asked), tmp_path / "run")
    return tmp_path / "run"


def test_ranks_do_not_depend_on_how_users_are_cut(run: Path) -> None:
    loaded = load_run(run)
    whole = evaluate(loaded.scorer(), loaded.dataset, "test", leave_out=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system, "CHUNK_ELEMENTS", 1)
        cut = evaluate(loaded.scorer(), loaded.dataset, "test", leave_out=True)
    np.testing.assert_array_equal(whole.ranks, cut.ranks)


def test_it_is_asked_by_items_and_says_what_each_adds(run: Path) -> None:
    recommender = Recommender.load(run)
    found = recommender.recommend([0, 3, 9], 4)
    assert not found.capsules
    assert found.trace is None
    for item in found.items:
        assert sum(item.contributions) == pytest.approx(item.score)
        assert len(item.contributions) == 3
    with pytest.raises(InputError, match="knows its catalogue's items only"):
        recommender.recommend([NewTitle("something new")])
    assert recommender.nearest(0) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("neighbours", lambda t: t + 1000),
        ("neighbours", lambda t: t - 1),
        ("neighbours", lambda t: t[:-1]),
        ("similarities", lambda t: t * torch.nan),
        ("starts", lambda t: t.flip(0)),
    ],
)
def test_a_file_that_is_no_matrix_is_refused(run: Path, name: str, change) -> None:
    path = run / "model.safetensors"
    tensors, metadata = load_tensors(path)
    changed = change(tensors[name])
    if name == "neighbours" and len(changed) == len(tensors[name]) and changed.min() >= 0:
        assert changed.max() >= 30
    save_tensors(path, {**tensors, name: changed}, metadata)
    with pytest.raises(InputError, match="no matrix of similarities"):
        load_run(run)


def test_the_scorer_of_a_dataset(tmp_path: Path) -> None:
    dataset: Dataset = tiny_shop(tmp_path / "data")
    scorer = fitted_scorer("itemknn", dataset, neighbours=3)
    assert scorer.max_length is None
    assert evaluate(scorer, dataset, "valid").metrics["recall@50"] == 1.0


def test_what_a_long_history_adds_is_never_held_dense() -> None:
    n = 40_000
    ring = sparse.csr_array((np.ones(n, np.float32), (np.arange(n), np.roll(np.arange(n), -1))))
    scorer = NeighbourScorer(ring, torch.device("cpu"))
    tracemalloc.start()
    explained = scorer.explain(range(0, n, 10))
    found = explained.contributions(torch.tensor([1, 2, 11]), torch.zeros(3, dtype=torch.int64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # 4,000 x 40,000 numbers would be 640 MB
    assert explained.each()[0, [1, 2, 11]].tolist() == [1.0, 0.0, 1.0]
    assert found.sum(0).tolist() == [1.0, 0.0, 1.0]
    assert (float(found[0, 0]), float(found[1, 2])) == (1.0, 1.0)
