"""Co-occurrence beside the interests: against plain loops, and through a run's whole life."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from miracle_cli.main import main
from miracle_core.batch import all_users, recommend_batch
from miracle_core.config import CooccurrenceSettings, make_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.packed import pack_lists, pad_lists
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.export import export
from miracle_core.index.store import build_index
from miracle_core.ranking.interests import Interests
from miracle_core.recommender import NewTitle, Recommender, Rules
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import load_run
from miracle_core.runs.tensors import load_tensors, save_tensors
from miracle_core.systems.cooccurrence import Cooccurrence
from tests.support.runs import tiny_shop

N = 7
LENGTH = 6
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)
Capture = pytest.CaptureFixture[str]


def similar(seed: int) -> np.ndarray:
    """Similarities of N items, half of them 0; none of an item with itself."""
    rng = np.random.default_rng(seed)
    found = np.where(rng.random((N, N)) < 0.5, rng.random((N, N)), 0)
    np.fill_diagonal(found, 0)
    return found.astype(np.float32)


def counts_of(table: np.ndarray, weight: float, decay: float, temperature: float) -> Cooccurrence:
    """The module with these similarities."""
    own = CooccurrenceSettings(weight=weight, decay=decay)
    counts = Cooccurrence(own, N, temperature)
    rows, columns = np.nonzero(table)
    counts.starts = torch.from_numpy(np.searchsorted(rows, np.arange(N + 1)))
    counts.items = torch.from_numpy(columns)
    counts.similarities = torch.from_numpy(table[rows, columns])
    counts.check()
    return counts


def reference(
    table: np.ndarray, history: list[int], weight: float, decay: float, temperature: float
) -> list[float]:
    """The term by its definition, in Python's floats; items from N on are new."""
    gains = []
    for candidate in range(N):
        total = 0.0
        for item in set(history):
            age = history[::-1].index(item)
            if item < N:
                total += decay**age * float(table[item, candidate])
        gains.append(weight * temperature * math.sqrt(total))
    return gains


@SETTINGS
@given(
    seed=st.integers(0, 2**32 - 1),
    histories=st.lists(
        st.lists(st.integers(0, N + 1), min_size=1, max_size=LENGTH), min_size=1, max_size=6
    ),
    weight=st.sampled_from([0.5, 4.0]),
    decay=st.sampled_from([0.3, 0.8, 1.0]),
    padded=st.booleans(),
    start=st.integers(0, 5),
)
def test_the_term_is_the_definition(seed, histories, weight, decay, padded, start):
    table, temperature = similar(seed), 0.07
    counts = counts_of(table, weight, decay, temperature)
    packed = (pad_lists if padded else pack_lists)(histories, LENGTH)
    interests = Interests.single(torch.zeros(len(histories), 2))
    # Users come in another order than the histories.
    users = torch.from_numpy(np.random.default_rng(seed).permutation(len(histories)))
    interests = Interests(interests.vectors, interests.which, users, interests.groups)
    near = counts.of_histories(interests, packed)
    expected = np.array(
        [
            reference(table, histories[int(packed.order[user])], weight, decay, temperature)
            for user in users
        ]
    )
    scores = torch.ones(len(histories), N)
    near.add_to(scores)
    np.testing.assert_allclose(scores, 1 + expected, rtol=1e-5, atol=1e-6)
    some = slice(min(start, len(histories) - 1), len(histories))
    scores = torch.zeros(some.stop - some.start, N)
    near.among(some).add_to(scores)
    np.testing.assert_allclose(scores, expected[some], rtol=1e-5, atol=1e-6)
    known = [item if item < N else -1 for item in histories[0]]
    alone = counts.of_history(known).gains(1)[0]
    expected_alone = reference(table, histories[0], weight, decay, temperature)
    np.testing.assert_allclose(alone, expected_alone, rtol=1e-5, atol=1e-6)


def test_counts_of_the_training_part(tmp_path: Path) -> None:
    dataset = tiny_shop(tmp_path / "data")
    counts = Cooccurrence(CooccurrenceSettings(weight=1, shrink=2, neighbours=3), 40, 1.0)
    counts.fit(dataset)
    starts, cuts = np.asarray(dataset.offsets[:-1]), np.asarray(dataset.cuts[:, 0])
    taken = [set(dataset.sequences[a:b].tolist()) for a, b in zip(starts, cuts, strict=True)]
    item = max(range(40), key=lambda i: sum(i in own for own in taken))
    found = {}
    for other in range(40):
        both = sum(item in own and other in own for own in taken)
        if other != item and both:
            n, m = sum(item in own for own in taken), sum(other in own for own in taken)
            found[other] = both / (math.sqrt(n * m) + 2)
    best = sorted(found, key=lambda other: (-found[other], other))[:3]
    row = slice(int(counts.starts[item]), int(counts.starts[item + 1]))
    assert sorted(best) == counts.items[row].tolist()
    wanted = [found[other] for other in sorted(best)]
    np.testing.assert_allclose(counts.similarities[row], wanted, rtol=1e-6)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    tiny_shop(folder / "data")
    small = ["model.width=16", "model.experts=2", "model.capsules=4", "model.inner=16"]
    small += ["train.epochs=2", "train.learning_rate=0.01"]
    words = ["train", "--data", str(folder / "data"), "--quiet"]
    words += [word for each in small for word in ("--set", each)]
    assert main([*words, "--out", str(folder / "plain")]) == 0
    assert main([*words, "--out", str(folder / "run"), "--set", "cooccurrence.weight=4"]) == 0
    return folder


def test_training_does_not_know_it(shop: Path) -> None:
    plain, run = (load_tensors(RunFolder(shop / name).state)[0] for name in ("plain", "run"))
    own = {name for name in run if ".cooccurrence." in name}
    assert len(own) == 3
    assert run.keys() - own == plain.keys()
    for name, value in plain.items():
        assert torch.equal(run[name], value), name


def test_every_way_to_rank_has_it(shop: Path, tmp_path: Path) -> None:
    """Evaluation, one history, many histories and files agree with the scores taken apart."""
    run = load_run(shop / "run")
    counts = run.system.cooccurrence
    assert counts is not None
    recommender = Recommender.load(shop / "run")
    dataset: Dataset = run.dataset
    many = recommender.recommend_users(top_k=40).table()
    written = recommend_batch(recommender, all_users(recommender), tmp_path / "r.parquet", top_k=40)
    read = pl.read_parquet(tmp_path / "r.parquet")
    assert written.rows == len(many) == len(read)
    brought = 0
    for user, name in enumerate(dataset.users["user_id"]):
        history = dataset.sequences[dataset.offsets[user] : dataset.offsets[user + 1]].tolist()
        found = recommender.recommend(history, 40)
        near = counts.of_history(history[-run.system.max_length :]).gains(1)[0]
        gain = run.system.gain()
        assert gain is not None
        for item in found.items:
            assert item.cooccurrence == pytest.approx(float(near[item.item]), abs=1e-6)
            had = float(gain.detach()) if item.item in history else 0.0
            assert item.score == pytest.approx(max(item.scores) + had + item.cooccurrence, abs=1e-5)
            brought += item.cooccurrence > 0
        for table in (many, read):
            own = table.filter(pl.col("user_id") == name)
            assert own["item_id"].to_list() == [item.item_id for item in found.items]
            scores = [item.score for item in found.items]
            np.testing.assert_allclose(own["score"], scores, rtol=1e-4, atol=1e-5)
    assert brought > 40
    evaluated = evaluate(run.scorer(), dataset, "valid")
    for user, target, rank in zip(evaluated.users, evaluated.targets, evaluated.ranks, strict=True):
        start, cut = dataset.offsets[user], dataset.cuts[user, 0]
        found = recommender.recommend(dataset.sequences[start:cut].tolist(), 1, target=target)
        assert found.target is not None
        assert found.target.rank == rank


def test_rules_and_new_items_beside_it(shop: Path) -> None:
    recommender = Recommender.load(shop / "run")
    denied = recommender.recommend([3, 7], 1).items[0].item_id
    rules = Rules(deny=[denied], quota=1)
    ruled = recommender.recommend([3, 7], 40, rules=rules)
    assert denied not in [item.item_id for item in ruled.items]
    new = recommender.recommend([3, NewTitle("Ceramic mug")], 40).items
    near = load_run(shop / "run").system.cooccurrence
    assert near is not None
    gains = near.of_history([3, -1]).gains(1)[0]
    for item in new:
        assert item.cooccurrence == pytest.approx(float(gains[item.item]), abs=1e-6)


def test_what_vectors_alone_would_give_is_refused(shop: Path, tmp_path: Path, capsys: Capture):
    recommender = Recommender.load(shop / "run")
    for target in ("numpy", "huggingface"):
        with pytest.raises(InputError, match="no vectors hold"):
            export(recommender, target, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no vectors hold"):
        build_index(load_run(shop / "run"))
    with pytest.raises(InputError, match="no vectors hold"):
        recommender.recommend([3], 2, approximate=True)
    assert main(["export", str(shop / "run"), "--to", "numpy", "--out", str(tmp_path / "e")]) == 2
    assert "cooccurrence.weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {"kind": "itemknn"}, "seen": "as-printed"}, "no vectors"),
        ({"train": {"mode": "inductive"}}, "transductive"),
        ({"datasets": ["a"], "train": {"mode": "inductive"}}, "transductive"),
        ({"cooccurrence": {"weight": -1}}, "must be at least 0"),
        ({"cooccurrence": {"weight": 1, "decay": 0}}, "must be above 0"),
        ({"cooccurrence": {"wieght": 1}}, "no setting 'wieght'"),
    ],
)
def test_where_it_has_no_place(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_settings({"cooccurrence": {"weight": 1.0}}, changes)


def test_damaged_counts_are_refused(shop: Path, tmp_path: Path) -> None:
    weights = shop / "run" / "model.safetensors"
    whole = weights.read_bytes()
    tensors, metadata = load_tensors(weights)
    for name, value in (
        ("cooccurrence.items", tensors["cooccurrence.items"] + 40),
        ("cooccurrence.similarities", -tensors["cooccurrence.similarities"]),
        ("cooccurrence.starts", tensors["cooccurrence.starts"].flip(0)),
    ):
        save_tensors(weights, {**tensors, name: value}, metadata)
        with pytest.raises(InputError, match="no matrix of similarities"):
            load_run(shop / "run")
    weights.write_bytes(whole)
    load_run(shop / "run")


def test_a_run_goes_on_and_is_taken_over(shop: Path, tmp_path: Path, capsys: Capture) -> None:
    """A resumed run counts as before; what starts from a run counts its own Dataset."""
    assert main(["train", "--out", str(shop / "run"), "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 2
    words = ["update", str(shop / "run"), "--data", str(shop / "data"), "--out"]
    assert main([*words, str(tmp_path / "next"), "--epochs", "1", "--quiet"]) in (0, 1)
    first, second = (load_run(run).system for run in (shop / "run", tmp_path / "next"))
    assert first.cooccurrence is not None
    assert second.cooccurrence is not None
    assert torch.equal(first.cooccurrence.similarities, second.cooccurrence.similarities)
