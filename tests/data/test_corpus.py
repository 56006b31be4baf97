"""Several Datasets as one corpus: the content and order of its batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miracle_core.data.corpus import Corpus, shares
from miracle_core.data.dataset import Dataset
from miracle_core.data.writing import write_features
from miracle_core.errors import InputError
from tests.support.runs import other_shop, reencode, tiny_shop

N = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("corpus")
    return [tiny_shop(folder / "a").folder, other_shop(folder / "b").folder]


@pytest.fixture(scope="module")
def corpus(folders: list[Path]) -> Corpus:
    return Corpus.open(folders)


def expected_examples(folders: list[Path]) -> list[tuple[list[int], int]]:
    """Every training example from plain loops, with the corpus's item numbers."""
    found, first = [], 0
    for folder in folders:
        dataset = Dataset.open(folder)
        for user in range(dataset.n_users):
            items = [int(item) + first for item in dataset.sequence(user)]
            kept = items[:-2] if len(items) >= 3 else items
            found += [(kept[max(0, i - N) : i], kept[i]) for i in range(1, len(kept))]
        first += dataset.n_items
    return found


def test_batches_hold_the_examples_of_each_domain(folders: list[Path], corpus: Corpus) -> None:
    expected = expected_examples(folders)
    assert len(corpus) == len(expected) == sum(corpus.sizes)
    chosen = np.random.default_rng(0).permutation(len(corpus))[:25]
    batch = corpus.batch(chosen, N)
    # The order within a batch is free, but each example must stay whole.
    items = batch.items[batch.packed.items.numpy()]
    histories = np.split(items, np.cumsum(batch.packed.lengths().numpy())[:-1])
    targets = batch.items[batch.targets]
    found = [(h.tolist(), int(t)) for h, t in zip(histories, targets, strict=True)]
    assert sorted(found) == sorted(expected[i] for i in chosen)
    assert np.array_equal(batch.items, np.unique(batch.items))
    used = {item for history, target in found for item in [*history, target]}
    assert used == set(batch.items.tolist())
    border = Dataset.open(folders[0]).n_items
    assert any(items < border) and any(items >= border)
    for history, target in found:  # no history mixes two domains
        assert len({item < border for item in [*history, target]}) == 1


def test_text_vectors_are_those_of_each_domain(folders: list[Path], corpus: Corpus) -> None:
    one, other = (Dataset.open(folder) for folder in folders)
    items = np.array([0, 3, one.n_items - 1, one.n_items, one.n_items + 7])
    expected = np.concatenate([one.features()[[0, 3, -1]], other.features()[[0, 7]]])
    assert np.array_equal(corpus.text(items), expected)
    assert corpus.text(items).dtype == np.float16


def test_an_epoch_takes_every_example_once(corpus: Corpus) -> None:
    order = corpus.order(5, 1, 1.0)
    assert sorted(order) == list(range(len(corpus)))
    assert np.array_equal(order, corpus.order(5, 1, 1.0))
    assert not np.array_equal(order, corpus.order(5, 2, 1.0))
    assert not np.array_equal(order, corpus.order(6, 1, 1.0))
    # Domains are drawn by size: half an epoch holds about half of each.
    first = order[: len(order) // 2] < corpus.sizes[0]
    assert abs(first.mean() - corpus.sizes[0] / len(corpus)) < 0.15


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_a_temperature_changes_how_often_domains_come(corpus: Corpus, temperature: float) -> None:
    order = corpus.order(5, 1, temperature)
    assert len(order) == len(corpus)
    counts = np.bincount(order, minlength=len(corpus))
    given_by = [counts[: corpus.sizes[0]], counts[corpus.sizes[0] :]]
    assert [int(c.sum()) for c in given_by] == shares(corpus.sizes, temperature)
    for domain in given_by:  # evenly: counts differ by at most one
        assert domain.max() - domain.min() <= 1
    assert np.array_equal(order, corpus.order(5, 1, temperature))


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_how_often_an_item_is_a_target(
    folders: list[Path], corpus: Corpus, temperature: float
) -> None:
    frequencies = corpus.target_frequencies(temperature)
    assert len(frequencies) == sum(Dataset.open(folder).n_items for folder in folders)
    targets = [target for _, target in expected_examples(folders)]
    drawn = np.zeros(len(frequencies))
    epochs = 300
    for epoch in range(epochs):
        drawn += np.bincount(np.array(targets)[corpus.order(5, epoch, temperature)],
                             minlength=len(drawn))  # fmt: skip
    drawn /= epochs * len(corpus)
    assert np.allclose(drawn, frequencies, rtol=0.0 if temperature == 1.0 else 0.15, atol=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 10_000_000), min_size=1, max_size=8),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
)
def test_shares(sizes: list[int], temperature: float) -> None:
    found = shares(sizes, temperature)
    assert sum(found) == sum(sizes)
    if temperature == 1.0:
        assert found == sizes
    if temperature == 0.0:
        assert max(found) - min(found) <= 1
    exact = np.array([float(size) ** temperature for size in sizes])
    assert np.allclose(found, exact / exact.sum() * sum(sizes), atol=1.001)


def test_names_of_domains_differ(tmp_path: Path) -> None:
    a = other_shop(tmp_path / "a", name="shop")
    b = other_shop(tmp_path / "b", items=21, name="shop")
    assert Corpus([a, b]).names == ["shop (1)", "shop (2)"]
    assert Corpus([a, b]).hash != Corpus([b, a]).hash


def test_one_dataset_twice(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is the same Dataset as") as caught:
        Corpus.open([*folders, folders[0]])
    assert str(folders[0]) in str(caught.value)
    opened = Dataset.open(folders[0])
    with pytest.raises(InputError, match="is the same Dataset as"):
        Corpus([opened, opened])
    copy = tiny_shop(tmp_path / "copy")
    with pytest.raises(InputError, match="is the same Dataset as") as caught:
        Corpus.open([*folders, copy.folder])
    assert caught.value.where == str(copy.folder)


def test_encoders_must_be_one(folders: list[Path], tmp_path: Path) -> None:
    b = other_shop(tmp_path / "b")
    renamed = reencode(b, name="mine")
    assert Corpus.open([folders[0], renamed.folder]).feature_name(1) == "mine"
    other = reencode(renamed, name="bert", revision="f" * 64)
    with pytest.raises(InputError, match=r"'bert'.*but .*'hashing:32'.*one encoder") as caught:
        Corpus.open([folders[0], other.folder])
    assert caught.value.where == str(other.folder) and str(folders[0]) in caught.value.what


def test_damaged_features_and_too_few_interactions(folders: list[Path], tmp_path: Path) -> None:
    b = other_shop(tmp_path / "b")
    file = b.folder / b.feature_set().file
    array = np.load(file)
    array[0, 0] += 1
    np.save(file, array)
    with pytest.raises(InputError, match="has changed since it was written"):
        Corpus.open([folders[0], b.folder])
    none = other_shop(tmp_path / "none", users=0)
    with pytest.raises(InputError, match="no example in its train part"):
        Corpus.open([folders[0], none.folder])


def test_wide_numbers_win_where_precisions_differ(folders: list[Path], tmp_path: Path) -> None:
    b = other_shop(tmp_path / "b")
    exact = np.random.default_rng(0).normal(size=(20, 32)).astype(np.float32)
    b = write_features(b.folder, exact, b.feature_set().encoder)
    corpus = Corpus([Dataset.open(folders[0]), b])
    found = corpus.text(np.array([0, corpus.datasets[0].n_items]))
    assert found.dtype == np.float32
    assert np.array_equal(found[1], exact[0])
