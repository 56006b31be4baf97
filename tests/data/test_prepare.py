"""Preparation: k-core, order, ids, counts and bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miracle_core.data.dataset import Dataset
from miracle_core.data.filters import k_core
from miracle_core.data.interactions import Interactions
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.data.statistics import describe
from miracle_core.errors import InputError

ALL = PrepareSettings(k_core=0)


def interactions(
    rows: list[tuple[str, str, float]], items: str = "abcdef", *, benchmark: bool = False
) -> Interactions:
    events = pl.DataFrame(rows, ["user_id", "item_id", "time"], orient="row")
    catalogue = pl.DataFrame(
        {
            "item_id": list(items),
            "title": [f"the {item}" for item in items],
            "text": [f"the {item}, described" for item in items],
        }
    )
    return Interactions.checked(events, catalogue, name="toy", benchmark=benchmark)


def sequences(dataset: Dataset) -> dict[str, str]:
    ids = dataset.items["item_id"].to_list()
    return {
        name: "".join(ids[item] for item in dataset.sequence(user))
        for user, name in enumerate(dataset.users["user_id"])
    }


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_order_ids_and_counts(tmp_path: Path) -> None:
    found = interactions(
        [("u", "d", 5), ("v", "c", 9), ("u", "c", 5), ("u", "b", 1), ("v", "d", 2), ("u", "d", 5)]
    )
    dataset = prepare(found, ALL, tmp_path / "out")
    # Events at equal times keep the input order. Items keep the catalogue's order, users the
    # order of their first events. Items that nobody took are dropped.
    assert sequences(dataset) == {"u": "bdcd", "v": "dc"}
    assert dataset.items["item_id"].to_list() == ["b", "c", "d"]
    assert dataset.items.row(0) == ("b", "the b", "the b, described", "toy")
    assert dataset.name == "toy"
    assert dataset.manifest.counts == {
        "steps": [
            {"step": "as read", "users": 2, "items": 6, "interactions": 6},
            {"step": "items nobody took dropped", "users": 2, "items": 3, "interactions": 6},
        ],
        "lost": [
            {
                "step": "items nobody took dropped",
                "users": 0,
                "items": 3,
                "interactions": 0,
                "keep": "--keep-unsold",
            }
        ],
        "repeats": 1,
        "duplicates": 1,
        "users": 2,
        "items": 3,
        "interactions": 6,
    }


def test_times_are_compared_as_they_are(tmp_path: Path) -> None:
    whole = [("u", "a", 2**53 + 1), ("u", "b", 2**53), ("u", "c", -1)]
    assert sequences(prepare(interactions(whole), ALL, tmp_path / "w")) == {"u": "cba"}
    broken = [("u", "a", 1.5), ("u", "b", 1.25), ("u", "c", -0.5)]
    assert sequences(prepare(interactions(broken), ALL, tmp_path / "b")) == {"u": "cba"}


def naive_core(events: list[tuple[int, int]], k: int) -> list[bool]:
    """Remove one event at a time until none can be removed."""
    keep = [True] * len(events)
    while True:
        left = [event for event, kept in zip(events, keep, strict=True) if kept]
        users = Counter(user for user, _ in left)
        items = Counter(item for _, item in left)
        for index, (user, item) in enumerate(events):
            if keep[index] and (users[user] < k or items[item] < k):
                keep[index] = False
                break
        else:
            return keep


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60), st.integers(1, 4))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_k_core_is_the_largest_set(events: list[tuple[int, int]], k: int) -> None:
    users, items = (np.array([event[i] for event in events], dtype=np.int64) for i in (0, 1))
    keep, _ = k_core(users, items, k)
    assert keep.tolist() == naive_core(events, k)


def test_k_core_goes_on_until_nothing_changes(tmp_path: Path) -> None:
    # Items c and d fall first. Only then do users v and w have too few items.
    rows = [(u, i, n) for n, (u, i) in enumerate((u, i) for u in "xy" for i in "ab")]
    rows += [("v", "a", 10), ("w", "c", 11), ("w", "b", 12), ("v", "d", 13)]
    dataset = prepare(interactions(rows), PrepareSettings(k_core=2), tmp_path / "out")
    assert sequences(dataset) == {"x": "ab", "y": "ab"}
    step = dataset.manifest.counts["steps"][-1]
    assert step == {"step": "2-core", "users": 2, "items": 2, "interactions": 4, "rounds": 2}
    assert dataset.manifest.settings["k_core"] == 2


def test_users_are_numbered_by_their_first_event_that_is_left(tmp_path: Path) -> None:
    rows = [("x", "f", 0), ("y", "a", 1), ("x", "a", 2), ("x", "b", 3), ("y", "b", 4)]
    dataset = prepare(interactions(rows), PrepareSettings(k_core=2), tmp_path / "out")
    assert list(sequences(dataset)) == ["y", "x"]


def test_the_core_is_five_but_a_published_split_stays(tmp_path: Path) -> None:
    rows = [(u, i, n) for n, (u, i) in enumerate((u, i) for u in "abcde" for i in "abcde")]
    rows += [("a", "f", 99)]
    plain = prepare(interactions(rows), PrepareSettings(), tmp_path / "plain")
    assert (plain.n_items, plain.manifest.settings["k_core"]) == (5, 5)
    split = prepare(interactions(rows, benchmark=True), PrepareSettings(), tmp_path / "split")
    assert (split.n_items, split.manifest.settings["k_core"]) == (6, 0)


def test_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="5-core is empty") as caught:
        prepare(interactions([("u", "a", 1)]), PrepareSettings(), tmp_path / "out")
    assert caught.value.where == "toy"
    assert "--k-core" in (caught.value.remedy or "")
    assert list(tmp_path.iterdir()) == []


def test_only_a_dataset_is_ever_replaced(tmp_path: Path) -> None:
    found = interactions([("u", "a", 1), ("u", "b", 2)])
    out = tmp_path / "out"
    out.mkdir()
    prepare(found, ALL, out)  # an empty folder is accepted
    prepare(interactions([("u", "c", 1)]), ALL, out)
    assert sequences(Dataset.open(out)) == {"u": "c"}
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not overwritten"):
        prepare(found, ALL, mine)
    (mine / "manifest.json").write_text('{"name": "of something else"}')
    with pytest.raises(InputError, match="not overwritten"):
        prepare(found, ALL, mine)
    with pytest.raises(InputError, match="not a folder"):
        prepare(found, ALL, mine / "thesis.tex")
    assert (mine / "thesis.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_a_failed_write_leaves_the_old_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = interactions([("u", "a", 1), ("u", "b", 2)])
    out = tmp_path / "out"
    prepare(found, ALL, out)
    before = files(out)

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("miracle_core.data.writing.np.save", fail)
    with pytest.raises(OSError, match="disk full"):
        prepare(interactions([("u", "c", 1)]), ALL, out)
    assert files(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    rows = "".join(f"u{n * 7 % 40},i{n * n % 30},{n % 9}\n" for n in range(1200))
    (tmp_path / "events.csv").write_text("user_id,item_id,when\n" + rows)
    titles = "".join(f"i{n},Thing &amp; number {n}\n" for n in range(30))
    (tmp_path / "items.csv").write_text("item_id,title\n" + titles)
    program = (
        "import sys; from pathlib import Path; from miracle_core.data.prepare import *;"
        "from miracle_core.data.readers import *; folder = Path(sys.argv[1]);"
        "options = ReadOptions(time='when', items=folder / 'items.csv');"
        "found = read('table', [folder / 'events.csv'], options);"
        "prepare(found, PrepareSettings(), folder / sys.argv[2])"
    )
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path), f"out{seed}"],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "POLARS_MAX_THREADS": seed},
        )
    assert files(tmp_path / "out1") == files(tmp_path / "out2")
    assert len(files(tmp_path / "out1")) == 5


def test_statistics(tmp_path: Path) -> None:
    rows = [("u", "abab"[n % 4], n) for n in range(12)] + [("v", "a", 0)]
    found = describe(prepare(interactions(rows), ALL, tmp_path / "out"))
    assert (found.users, found.items, found.interactions, found.repeats) == (2, 2, 13, 10)
    assert found.density == pytest.approx(13 / 4)
    assert found.mean_length == pytest.approx(6.5)
    assert found.mean_item == pytest.approx(6.5)
    lengths = [(length.least, length.most, length.users) for length in found.lengths]
    assert lengths[0] == (1, 1, 1)
    assert lengths[-1] == (10, 14, 1)
    assert sum(length.users for length in found.lengths) == 2


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "name", "figures"),
    [
        ("scientific", "Scientific", (8442, 4385, 59427)),
        ("games", "Games-6k", (50546, 16859, 440264)),
    ],
)
def test_published_splits(
    tmp_path: Path, real_data: Path, folder: str, name: str, figures: tuple[int, int, int]
) -> None:
    found = read("atomic", [real_data / folder])
    dataset = prepare(found, PrepareSettings(), tmp_path / "one")
    assert (dataset.n_users, dataset.n_items, dataset.n_interactions) == figures
    # Compare every published test row with our indices and split.
    examples = dataset.examples("test")
    lines = (real_data / folder / f"{name}.test.inter").read_text().splitlines()[1:]
    assert len(lines) == len(examples)
    for line, user, position in zip(lines, examples.users, examples.positions, strict=True):
        history, target = (part.split() for part in line.split("\t")[1:])
        start = max(int(dataset.offsets[user]), int(position) - len(history))
        assert dataset.sequences[start:position].tolist() == [int(item) for item in history]
        assert [int(dataset.sequences[position])] == [int(item) for item in target]
    prepare(read("atomic", [real_data / folder]), PrepareSettings(), tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.real_data
def test_scientific_ids_and_titles(tmp_path: Path, real_data: Path) -> None:
    folder = real_data / "scientific"
    dataset = prepare(read("atomic", [folder]), PrepareSettings(), tmp_path / "out")
    for column, file in (("item_id", "item2index"), ("user_id", "user2index")):
        lines = (folder / f"Scientific.{file}").read_text().splitlines()
        table = dataset.items if column == "item_id" else dataset.users
        assert [f"{value}\t{index}" for index, value in enumerate(table[column])] == lines
    titles = dict(dataset.items.select("item_id", "title").iter_rows())
    assert titles["B0000223UV"] == (
        "Gorilla Original Gorilla Glue, Waterproof Polyurethane Glue, 8 ounce Bottle, Brown"
    )
    assert titles["B0013RVDG4"] == "Oatey 30203 Dark Cutting Oil, Speed Threading, 16-Ounce"
    text = dict(dataset.items.select("item_id", "text").iter_rows())["B0000223UV"]
    assert text.endswith("Tapes, Adhesives & Sealants Urethane Adhesives. Gorilla.")
    # Training and validation rows match our split, too; their histories are capped.
    for split, examples in (("valid", dataset.examples("valid")), ("train", None)):
        lines = (folder / f"Scientific.{split}.inter").read_text().splitlines()[1:]
        examples = examples or dataset.examples("train")
        ours = {
            (
                str(user),
                " ".join(map(str, dataset.sequences[dataset.offsets[user] : position][-50:])),
                str(dataset.sequences[position]),
            )
            for user, position in zip(examples.users, examples.positions, strict=True)
        }
        assert ours == {tuple(line.split("\t")) for line in lines}
