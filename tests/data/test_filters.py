"""The options of preparation, each against a plain implementation of its description."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miracle_core.data.dataset import Dataset
from miracle_core.data.filters import Log, count_duplicates, one_of_duplicates
from miracle_core.data.interactions import Interactions
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.data.statistics import describe
from miracle_core.data.verify import verify
from miracle_core.errors import InputError

Row = tuple[str, str, int]
ITEMS = "abcdefgh"
DAY = 86_400
START = 1_500_000_000


def interactions(rows: list[Row], ratings: list[float] | None = None) -> Interactions:
    events = pl.DataFrame(rows, ["user_id", "item_id", "time"], orient="row")
    if ratings is not None:
        events = events.with_columns(pl.Series("rating", ratings, pl.Float64))
    items = pl.DataFrame({"item_id": list(ITEMS), "title": list(ITEMS), "text": list(ITEMS)})
    return Interactions.checked(events, items, name="toy")


def sequences(dataset: Dataset) -> dict[str, str]:
    ids = dataset.items["item_id"].to_list()
    return {
        name: "".join(ids[item] for item in dataset.sequence(user))
        for user, name in enumerate(dataset.users["user_id"])
    }


def prepared(folder: Path, rows: list[Row], **options: object) -> Dataset:
    return prepare(interactions(rows), PrepareSettings(**{"k_core": 0, **options}), folder)


ROWS: list[Row] = [
    ("u", "a", START + 3 * DAY),
    ("v", "b", START),
    ("u", "b", START + DAY),
    ("u", "a", START + 2 * DAY),
    ("u", "c", START + 2 * DAY),
    ("v", "c", START + 5 * DAY),
]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, {"u": "baca", "v": "bc"}),
        ({"repeats": "first"}, {"v": "bc", "u": "bac"}),
        ({"repeats": "last"}, {"u": "bca", "v": "bc"}),
        ({"duplicates": "drop"}, {"u": "baca", "v": "bc"}),
        ({"since": "2017-07-15"}, {"u": "baca", "v": "c"}),
        ({"since": str(START + DAY), "until": str(START + 3 * DAY)}, {"u": "bac"}),
        ({"until": "2017-07-16T02:40:01"}, {"v": "b", "u": "bac"}),
        ({"min_length": 3}, {"u": "baca"}),
        ({"max_length": 2}, {"u": "ca", "v": "bc"}),
        ({"max_length": 1}, {"u": "a", "v": "c"}),
        ({"k_core": 2}, {"v": "bc", "u": "baca"}),
        ({"user_core": 3}, {"u": "baca"}),
        ({"item_core": 3, "k_core": 0}, {}),
        ({"user_core": 0, "item_core": 2, "repeats": "first"}, {"v": "bc", "u": "bc"}),
    ],
)
def test_options(tmp_path: Path, options: dict[str, object], left: dict[str, str]) -> None:
    if not left:
        with pytest.raises(InputError, match="is empty"):
            prepared(tmp_path / "out", ROWS, **options)
        return
    dataset = prepared(tmp_path / "out", ROWS, **options)
    assert sequences(dataset) == left
    steps = dataset.manifest.counts["steps"]
    assert len(steps) == 2 + len(
        set(options)
        - {"user_core", "item_core"}
        - ({"k_core"} if options.get("k_core") != 2 else set())
    ) + bool({"user_core", "item_core"} & set(options))
    assert steps[-1]["interactions"] == sum(map(len, left.values()))
    assert dataset.manifest.settings["repeats"] == options.get("repeats", "keep")


TWICE: list[Row] = [*ROWS, ("u", "c", START + 2 * DAY), ("v", "b", START), ("v", "b", START)]


def test_exact_duplicates_are_no_repurchases(tmp_path: Path) -> None:
    kept = prepared(tmp_path / "kept", TWICE)
    assert sequences(kept) == {"u": "bacca", "v": "bbbc"}
    assert (kept.manifest.counts["repeats"], kept.manifest.counts["duplicates"]) == (4, 3)
    dropped = prepared(tmp_path / "dropped", TWICE, duplicates="drop")
    # u bought a twice, at different times.
    assert sequences(dropped) == {"u": "baca", "v": "bc"}
    counts = dropped.manifest.counts
    assert (counts["repeats"], counts["duplicates"]) == (1, 0)
    assert counts["steps"][-1]["step"] == "exact duplicates dropped"
    assert counts["lost"][-1] == {
        "step": "exact duplicates dropped",
        "users": 0,
        "items": 0,
        "interactions": 3,
        "keep": "--duplicates keep",
    }
    assert describe(dropped).repeats == 1


@given(
    st.lists(st.tuples(st.sampled_from("uv"), st.sampled_from("ab"), st.integers(0, 3)), min_size=1)
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_duplicates_are_those_of_a_plain_reading(rows: list[Row]) -> None:
    log = Log(
        np.array(["uv".index(row[0]) for row in rows]),
        np.array(["ab".index(row[1]) for row in rows]),
        np.array([row[2] for row in rows]),
    )
    keep = one_of_duplicates(log)
    assert keep.tolist() == [row not in rows[:at] for at, row in enumerate(rows)]
    pairs = pl.Series(log.users * 2 + log.items)
    assert count_duplicates(pairs, log.time) == len(rows) - len(set(rows))


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ({"since": "2017-07-15"}, "--since"),
        ({"until": "2017-07-15"}, "--until"),
        ({"duplicates": "drop"}, "--duplicates drop"),
    ],
)
def test_what_needs_times_is_refused_without(
    tmp_path: Path, option: dict[str, object], name: str
) -> None:
    source = tmp_path / "log.csv"
    source.write_text("user_id,item_id,title\nu,a,A\nu,a,A\nv,b,B\n")
    found = read("table", [source])
    with pytest.raises(InputError, match="no times") as caught:
        prepare(found, PrepareSettings(**{"k_core": 0, **option}), tmp_path / "out")
    assert caught.value.where == name
    assert (
        prepare(found, PrepareSettings(k_core=0), tmp_path / "out").manifest.counts["duplicates"]
        == 0
    )


def test_ratings(tmp_path: Path) -> None:
    found = interactions(ROWS, [5, 3, 2.5, 4, 3.5, 1])
    dataset = prepare(found, PrepareSettings(k_core=0, min_rating=3.5), tmp_path / "out")
    assert sequences(dataset) == {"u": "aca"}
    with pytest.raises(InputError, match="no ratings"):
        prepare(interactions(ROWS), PrepareSettings(min_rating=3), tmp_path / "none")


@pytest.mark.parametrize(
    ("scale", "least"), [(1, "2017-07-15"), (10**3, "2017-07-15"), (10**6, "2017-07-15T00:00:00")]
)
def test_dates_in_the_unit_of_the_data(tmp_path: Path, scale: int, least: str) -> None:
    rows = [(user, item, time * scale) for user, item, time in ROWS]
    assert sequences(prepared(tmp_path / "out", rows, since=least)) == {"u": "baca", "v": "c"}


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"since": "soon"}, "--since"),
        ({"until": "2017-02-30"}, "--until"),
        ({"since": "2030-01-01"}, "toy"),
        ({"min_length": 9}, "toy"),
        ({"valid_from": "2017-07-15"}, "--valid-from, --test-from"),
        ({"split": "temporal", "valid_from": "2019-01-01"}, "--split temporal"),
        ({"split": "temporal", "repeats": "last"}, "--repeats last"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, object], where: str) -> None:
    with pytest.raises(InputError) as caught:
        prepared(tmp_path / "out", ROWS, **options)
    assert caught.value.where == where
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def plain_temporal(
    rows: list[Row], valid: int, test: int, least: int, most: int
) -> tuple[dict[str, str], dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    """Training sequences, and (history, target) of validation and test, as documented."""
    in_time = sorted(rows, key=lambda row: row[2])
    training = defaultdict(list)
    for user, item, time in in_time:
        if time < valid:
            training[user].append(item)
    seen = {item for items in training.values() for item in items}
    kept = {user: items[-most:] for user, items in training.items()}
    while True:
        users = {user for user, items in kept.items() if len(items) >= least}
        counts = Counter(item for user in users for item in kept[user])
        smaller = {user: [i for i in kept[user] if counts[i] >= least] for user in users}
        if smaller == kept:
            break
        kept = smaller
    kept = {user: items for user, items in kept.items() if items}
    known = {item for items in kept.values() for item in items}
    parts: list[dict[str, tuple[str, str]]] = []
    for begin, end in ((valid, test), (test, 10**12)):
        found = {}
        for user, items in kept.items():
            usable = [r for r in in_time if r[0] == user and (r[1] in known or r[1] not in seen)]
            history = items + [r[1] for r in usable if valid <= r[2] < begin]
            targets = [r[1] for r in usable if begin <= r[2] < end]
            if targets:
                found[user] = ("".join(history), targets[0])
        parts.append(found)
    return {user: "".join(items) for user, items in kept.items()}, parts[0], parts[1]


def seen_of(dataset: Dataset) -> tuple[dict[str, str], ...]:
    """The same three lists, read from a Dataset."""
    ids = dataset.items["item_id"].to_list()
    names = dataset.users["user_id"].to_list()
    text = "".join(ids[item] for item in dataset.sequences)
    training = {
        names[user]: text[dataset.offsets[user] : dataset.cuts[user, 0]]
        for user in range(dataset.n_users)
    }
    parts = []
    for split in ("valid", "test"):
        examples = dataset.examples(split)
        parts.append(
            {
                names[user]: (text[dataset.offsets[user] : position], text[position])
                for user, position in zip(examples.users, examples.positions, strict=True)
            }
        )
    return training, *parts


LOGS = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from(ITEMS), st.integers(0, 40)),
    min_size=8,
    max_size=50,
)


@given(LOGS, st.integers(1, 3), st.integers(2, 9))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_temporal_split_looks_at_nothing_later(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], least: int, most: int
) -> None:
    rows = [("u", "a", 0), ("u", "b", 40), *rows]
    options = {"k_core": least, "max_length": most, "split": "temporal"}
    cut = {"valid_from": "15", "test_from": "28"}
    expected = plain_temporal(rows, 15, 28, max(least, 1), most)
    folder = tmp_path_factory.mktemp("temporal")
    if not expected[0]:
        with pytest.raises(InputError):
            prepared(folder / "out", rows, **options, **cut)
        return
    dataset = prepared(folder / "out", rows, **options, **cut)
    assert seen_of(dataset) == expected
    # Verify the split from the times themselves.
    assert any("nothing looks ahead" in line for line in verify(folder / "out"))
    training = dataset.examples("train")
    assert (dataset.times()[training.positions] < 15).all()
    assert dataset.training_counts().sum() == sum(map(len, expected[0].values()))
    # Change the future: later events must not change what was known before them.
    for moment, known in ((15, 1), (28, 2)):
        other = [row for row in rows if row[2] < moment] + [("w", "h", 39), ("x", "g", 40)]
        other += [] if moment == 28 else [("w", "a", 16)]
        changed = seen_of(prepared(folder / "other", other, **options, **cut))
        assert changed[:known] == expected[:known]


def test_default_moments_and_cold_items(tmp_path: Path) -> None:
    rows = [(user, "abcdefgh"[n // 3 % 6], n) for n in range(40) for user in "uv"]
    rows += [("u", "g", 37), ("v", "h", 33), ("w", "g", 38)]
    dataset = prepared(tmp_path / "out", rows, split="temporal", k_core=2)
    settings_used = dataset.manifest.settings
    assert (settings_used["valid_from"], settings_used["test_from"]) == (33, 36)
    assert dataset.manifest.split == "temporal"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "cuts.npy",
        "items.parquet",
        "manifest.json",
        "offsets.npy",
        "sequences.npy",
        "times.npy",
        "users.parquet",
    ]
    assert dataset.users["user_id"].to_list() == ["u", "v"]
    cold = describe(dataset).cold
    # h is new in validation. g is new in the test part, but is nobody's first test item.
    assert (cold.items, cold.valid_all, cold.test, cold.test_all) == (1, 2, 0, 2)
    again = prepared(tmp_path / "again", rows, split="temporal", k_core=2)
    assert again.manifest.model_dump() == dataset.manifest.model_dump()
    assert Dataset.open(tmp_path / "out").cuts.tolist() == dataset.cuts.tolist()


def test_a_split_that_was_tampered_with(tmp_path: Path) -> None:
    from miracle_core.data.writing import write_dataset

    rows = [(user, "abcd"[n % 4], n) for n in range(20) for user in "uv"]
    good = prepared(tmp_path / "good", rows, split="temporal")
    for change in ("times", "cuts"):
        times, cuts = np.array(good.times()), np.array(good.cuts)
        if change == "times":
            times[0] = 19
        else:
            cuts[0, 0] += 1
        write_dataset(
            tmp_path / "bad",
            name="bad",
            items=good.items,
            user_ids=good.users["user_id"],
            sequences=np.array(good.sequences),
            offsets=np.array(good.offsets),
            sources=[],
            settings=good.manifest.settings,
            counts={},
            split="temporal",
            cuts=cuts,
            times=times,
        )
        with pytest.raises(InputError, match="another part"):
            verify(tmp_path / "bad")


def test_popularity_curve(tmp_path: Path) -> None:
    rows = [("u", "a", n) for n in range(6)] + [("u", "b", 7), ("v", "c", 8), ("v", "d", 9)]
    found = describe(prepared(tmp_path / "out", rows))
    assert found.popularity[0] == (0.01, 6 / 9)
    assert found.popularity[-2:] == ((0.5, 7 / 9), (1.0, 1.0))
    assert "popularity" not in found.as_dict()
