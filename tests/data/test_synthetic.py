"""Generated shops: the same bytes on every machine, with the promised structure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from miracle_core.data.readers import read
from miracle_core.data.synthetic import ROLES, SHOPS, Shop, generate_shops, write_shop_files
from miracle_core.data.synthetic.catalogue import compose_catalogue
from miracle_core.data.synthetic.histories import MAX_INTERESTS, MAX_LENGTH, MIN_LENGTH, NOISE_SHARE
from miracle_core.data.synthetic.stream import Stream
from miracle_core.data.synthetic.vocabulary import load_vocabulary
from miracle_core.errors import InputError
from miracle_core.files import sha256_file

DOCS = Path(__file__).parents[2] / "docs" / "demo.md"
FILES = ("pets.inter", "pets.item", "truth.json")
PINNED = [
    "12d236c1fea58c0b2edb61ad36ae74e987766069c95f4a4587ea17b67cd30599",
    "75b65230c226990487f80d586c7c12fd5827960dea24681c8e21b731520ae809",
    "ae433d35aad864d58a042bfcc3d221501ff6f64fad6950a5009425e71cef7924",
]


@pytest.fixture(scope="module")
def shops() -> list[Shop]:
    """Every shop at the demo's size."""
    return generate_shops(0)


@pytest.fixture(params=SHOPS)
def shop(request: pytest.FixtureRequest, shops: list[Shop]) -> Shop:
    """Each shop in turn."""
    return shops[SHOPS.index(request.param)]


def histories(shop: Shop) -> list[np.ndarray]:
    """Each user's items in time order, as indices; users are in the order of the truth file."""
    codes = {item: index for index, item in enumerate(shop.items["item_id"])}
    found: dict[str, list[int]] = {user: [] for user in shop.truth.user_ids}
    for user, item in zip(shop.events["user_id"], shop.events["item_id"], strict=True):
        found[user].append(codes[item])
    return [np.array(items) for items in found.values()]


def shares(interests: np.ndarray, n_interests: int) -> np.ndarray:
    return np.bincount(interests, minlength=n_interests) / len(interests)


# --- the same everywhere ---------------------------------------------------------------------


def small(seed: int, folder: Path) -> list[str]:
    (shop,) = generate_shops(seed, shops=["pets"], n_items=60, n_users=40)
    write_shop_files(shop, folder)
    return [sha256_file(folder / file) for file in FILES]


def test_same_seed_gives_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (small(s, tmp_path / n) for s, n in ((3, "a"), (3, "b"), (4, "c")))
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_bytes_are_those_of_every_other_machine(tmp_path: Path) -> None:
    # A change here changes every generated shop: record it in CHANGELOG.md.
    assert small(0, tmp_path / "a") == PINNED


def test_a_shop_does_not_depend_on_the_others(shops: list[Shop]) -> None:
    (alone,) = generate_shops(0, shops=["kitchen"])
    together = shops[SHOPS.index("kitchen")]
    assert alone.items.equals(together.items)
    assert alone.events.equals(together.events)


# --- users -----------------------------------------------------------------------------------


def test_sizes_lengths_and_order(shop: Shop) -> None:
    assert shop.items.height == 1200
    assert len(shop.truth.user_ids) == 3000
    lengths = np.array([len(history) for history in histories(shop)])
    assert lengths.min() == MIN_LENGTH
    assert lengths.max() <= MAX_LENGTH
    assert lengths.max() > 35
    assert 9 < lengths.mean() < 12
    assert shop.events["time"].is_sorted()
    assert not shop.events.select("user_id", "time").is_duplicated().any()
    repeats = 1 - shop.events.select("user_id", "item_id").unique().height / shop.events.height
    assert repeats < 0.005


def test_users_have_one_to_five_interests_and_little_else(shop: Shop) -> None:
    mix = shop.truth.user_mix
    assert mix.shape == (3000, 2, len(shop.truth.interests))
    np.testing.assert_allclose(mix.sum(axis=2), 1)
    planted = mix.sum(axis=1) > 0
    counts = np.bincount(planted.sum(axis=1), minlength=MAX_INTERESTS + 1)
    assert len(counts) == MAX_INTERESTS + 1
    assert counts[0] == 0
    assert counts[1:].min() > 300
    stray = [
        (~planted[user][shop.truth.item_interest[history]]).mean()
        for user, history in enumerate(histories(shop))
    ]
    assert 0.5 * NOISE_SHARE < np.mean(stray) < NOISE_SHARE


def test_interests_drift(shop: Shop) -> None:
    """The halves of a history differ much more than the halves of a shuffled one."""
    shuffler = np.random.default_rng(0)
    n = len(shop.truth.interests)
    drift, chance, planted = [], [], []
    for history, mix in zip(histories(shop), shop.truth.user_mix, strict=True):
        if (mix.sum(axis=0) > 0).sum() < 2 or len(history) < 10:
            continue
        taken = shop.truth.item_interest[history]
        mixed = shuffler.permutation(taken)
        half = len(taken) // 2
        drift.append(np.abs(shares(taken[:half], n) - shares(taken[half:], n)).sum() / 2)
        chance.append(np.abs(shares(mixed[:half], n) - shares(mixed[half:], n)).sum() / 2)
        planted.append(np.abs(mix[0] - mix[1]).sum() / 2)
    assert len(drift) > 500
    assert np.mean(drift) > 1.5 * np.mean(chance)
    assert np.mean(planted) > 0.3


def test_what_was_planted_is_what_users_do(shop: Shop) -> None:
    taken = np.zeros_like(shop.truth.user_mix)
    for user, history in enumerate(histories(shop)):
        interests = shop.truth.item_interest[history]
        half = (len(interests) + 1) // 2
        taken[user] = [
            shares(part, taken.shape[2]) for part in (interests[:half], interests[half:])
        ]
    expected = (1 - NOISE_SHARE) * shop.truth.user_mix.mean(axis=0)
    popular = shares(shop.truth.item_interest, taken.shape[2])
    np.testing.assert_allclose(taken.mean(axis=0), expected + NOISE_SHARE * popular, atol=0.01)


# --- items -----------------------------------------------------------------------------------


def test_titles_are_unique_and_readable(shop: Shop) -> None:
    titles = shop.items["title"].to_list()
    words = {
        " ".join(re.findall(r"[^\s,()]+", title.casefold().replace(" - ", " "))) for title in titles
    }
    assert len(words) == len(titles)
    for title, brand in zip(titles, shop.items["brand"], strict=True):
        assert title.startswith(f"{brand} ")
        assert title.isascii()
        assert title.isprintable()
        assert '"' not in title
        assert "  " not in title
        assert 3 <= len(title.split()) <= 16
        assert len(title) <= 110
    assert 4 < np.mean([len(title.split()) for title in titles]) < 10


def test_the_documentation_shows_the_titles(shop: Shop) -> None:
    text = DOCS.read_text(encoding="utf-8")
    for title in shop.items["title"][:10]:
        assert f"    {title}\n" in text


def test_every_interest_sells_every_role(shop: Shop) -> None:
    truth = shop.truth
    counts = np.zeros((len(truth.interests), len(ROLES)), dtype=int)
    np.add.at(counts, (truth.item_interest, truth.item_role), 1)
    assert counts.min() >= 5
    assert counts.sum(axis=1).min() >= 50


def test_interests_share_brands_and_categories(shop: Shop) -> None:
    """No brand and no category reveals an interest."""
    for column in ("brand", "categories"):
        for value in shop.items[column].unique():
            rows = (shop.items[column] == value).to_numpy()
            assert len(np.unique(shop.truth.item_interest[rows])) > 1


def test_text_tells_much_of_the_interest_but_not_all(shop: Shop) -> None:
    texts = shop.interactions.items["text"].to_list()
    hashed = HashingVectorizer(n_features=4096, norm=None).transform(texts)
    vectors = TfidfTransformer().fit_transform(hashed)
    near = (vectors @ vectors.T).toarray()
    np.fill_diagonal(near, -1)
    nearest = np.argsort(-near, axis=1, kind="stable")[:, :10]
    interest = shop.truth.item_interest
    same = (interest[nearest] == interest[:, None]).mean()
    chance = (shares(interest, len(shop.truth.interests)) ** 2).sum()
    assert chance < 0.1
    assert 0.6 < same < 0.95


def test_popularity_has_a_long_tail(shop: Shop) -> None:
    taken = np.concatenate(histories(shop))
    counts = np.bincount(taken, minlength=shop.items.height)
    for interest in range(len(shop.truth.interests)):
        inside = np.sort(counts[shop.truth.item_interest == interest])[::-1]
        top = inside[: len(inside) // 5].sum() / inside.sum()
        assert top > 0.4
        assert np.median(inside) < 0.85 * inside.mean()
    assert (counts >= 5).mean() > 0.9  # the 5-core drops few


# --- sequences -------------------------------------------------------------------------------


def test_purchases_follow_from_the_last_one(shop: Shop) -> None:
    """Compare neighbours in a history with random pairs of the same user and interest."""
    truth = shop.truth
    shuffler = np.random.default_rng(0)
    lines, roles = [], []  # (neighbours, control) pairs
    for history in histories(shop):
        for interest in np.unique(truth.item_interest[history]):
            own = history[truth.item_interest[history] == interest]
            mixed = shuffler.permutation(own)
            for pairs, order in enumerate((own, mixed)):
                lines.extend((pairs, a == b) for a, b in _neighbours(truth.item_line[order]))
                roles.extend(
                    (pairs, b == 0) for a, b in _neighbours(truth.item_role[order]) if a == 0
                )
    line, role = np.array(lines), np.array(roles)
    same_line = [line[line[:, 0] == pairs, 1].mean() for pairs in (0, 1)]
    device_again = [role[role[:, 0] == pairs, 1].mean() for pairs in (0, 1)]
    assert same_line[0] > same_line[1] + 0.05
    assert same_line[0] > 0.55  # there are four lines
    assert device_again[0] < 0.8 * device_again[1]


def _neighbours(values: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(values[:-1].tolist(), values[1:].tolist(), strict=True))


def test_the_last_purchases_predict_the_next_better_than_popularity(shop: Shop) -> None:
    n = shop.items.height
    popularity, after = np.zeros(n), np.zeros((n, n))
    for history in histories(shop):
        known = history[:-1]
        np.add.at(popularity, known, 1)
        for gap in (1, 2, 3):
            np.add.at(after, (known[:-gap], known[gap:]), 1 / gap)
    after += popularity / popularity.sum()
    popular = set(np.argsort(-popularity, kind="stable")[:10].tolist())
    following = np.argsort(-after, axis=1, kind="stable")[:, :10]
    hits = [(h[-1] in popular, h[-1] in following[h[-2]]) for h in histories(shop)]
    by_popularity, by_last = np.mean(hits, axis=0)
    assert by_last > 2.5 * by_popularity
    assert by_last < 0.5  # the task is not trivial


# --- files and errors ------------------------------------------------------------------------


def test_files_read_back_as_the_shop(shop: Shop, tmp_path: Path) -> None:
    folder = write_shop_files(shop, tmp_path / "raw")
    found = read("atomic", [folder])
    assert found.name == shop.name
    assert found.items.equals(shop.interactions.items)
    ids = ["user_id", "item_id"]
    assert found.events.select(ids).equals(shop.interactions.events.select(ids))
    assert found.events["time"].to_list() == shop.events["time"].to_list()


def test_truth_lies_beside_the_files(shops: list[Shop], tmp_path: Path) -> None:
    shop = shops[1]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "old.txt").write_text("from an earlier run")
    write_shop_files(shop, tmp_path / "raw")
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [
        "outdoor.inter",
        "outdoor.item",
        "truth.json",
    ]
    truth = json.loads((tmp_path / "raw" / "truth.json").read_text())
    assert truth["shop"] == "outdoor"
    assert truth["seed"] == 0
    names = [shop.truth.interests[i] for i in shop.truth.item_interest]
    assert truth["items"] == dict(zip(shop.items["item_id"], names, strict=True))
    assert list(truth["users"]) == sorted(shop.truth.user_ids)
    late = truth["users"]["out-u00000"]["late"]
    assert sum(late.values()) == pytest.approx(1, abs=1e-3)
    assert set(late) <= set(truth["interests"])


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"shops": ["bakery"]}, "shops"),
        ({"seed": -1}, "seed"),
        ({"n_users": 0}, "n_users"),
        ({"n_items": 11}, "n_items"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], where: str) -> None:
    with pytest.raises(InputError) as caught:
        generate_shops(**arguments)
    assert caught.value.where == where
    assert caught.value.remedy


def test_too_many_items_for_the_words_are_refused() -> None:
    words = load_vocabulary("pets")
    few = {role: {"Thing": ["Small"]} for role in ROLES}
    words = words.model_copy(
        update={
            "interest": [words.interest[0].model_copy(update=few)],
            "brands": {"Waggerly": ["Fetch"]},
            "finishes": ["Red"],
        }
    )
    with pytest.raises(InputError, match=r"make only \d+ of 900 titles for 'puppy training'"):
        compose_catalogue(words, 900, Stream(0))


def test_the_smallest_shop_works() -> None:
    (shop,) = generate_shops(5, shops=["garden"], n_items=12, n_users=1)
    assert shop.events.height >= MIN_LENGTH
    assert sorted(shop.truth.item_interest.tolist()) == list(range(12))


@pytest.mark.parametrize("name", SHOPS)
def test_words_are_fit_for_titles(name: str) -> None:
    words = load_vocabulary(name)
    names = [interest.name for interest in words.interest]
    assert len(set(names)) == len(names) == 12
    lines = words.makers()
    assert len(lines) >= 6
    assert any(len(brands) > 1 for brands in lines.values())
