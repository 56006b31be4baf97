"""The Dataset folder: it is read as it was written, and damage is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from miracle_core.data.dataset import Dataset, EncoderIdentity, SourceFile
from miracle_core.data.manifest import feature_file
from miracle_core.data.verify import verify
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.errors import InputError

SEQUENCES = [[0, 1, 2, 3, 1], [4, 0, 4], [2, 3], [1]]
WIDTH = 3


def identity(name: str = "hashing") -> EncoderIdentity:
    return EncoderIdentity(name=name, revision="r1", pooling="none", max_length=0, width=WIDTH)


def vectors(dtype: str = "float32") -> np.ndarray:
    return np.arange(5 * WIDTH).reshape(5, WIDTH).astype(dtype)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    items = [f"i{n}" for n in range(5)]
    write_dataset(
        tmp_path / "shop",
        name="Shop",
        items=pl.DataFrame({"item_id": items, "title": items, "text": items, "domain": ["d"] * 5}),
        user_ids=["ann", "bob", "cat", "dan"],
        sequences=np.concatenate([np.array(items, dtype=np.int32) for items in SEQUENCES]),
        offsets=np.cumsum([0, *map(len, SEQUENCES)]),
        sources=[SourceFile(file="raw.csv", bytes=3, sha256="00")],
        settings={"k_core": 0},
        counts={"steps": []},
    )
    return tmp_path / "shop"


def test_what_was_written_is_read(folder: Path) -> None:
    dataset = Dataset.open(folder)
    assert [dataset.sequence(user).tolist() for user in range(4)] == SEQUENCES
    assert (dataset.n_users, dataset.n_items, dataset.n_interactions) == (4, 5, 11)
    assert dataset.users["user_id"].to_list() == ["ann", "bob", "cat", "dan"]
    assert dataset.items.row(4) == ("i4", "i4", "i4", "d")
    assert isinstance(dataset.sequences, np.memmap)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["shop"]


def test_the_split_leaves_the_last_two_out(folder: Path) -> None:
    dataset = Dataset.open(folder)

    def examples(split: str) -> list[tuple[int, list[int], int]]:
        found = dataset.examples(split)  # type: ignore[arg-type]
        return [
            (
                int(user),
                dataset.sequences[dataset.offsets[user] : position].tolist(),
                int(dataset.sequences[position]),
            )
            for user, position in zip(found.users, found.positions, strict=True)
        ]

    assert examples("test") == [(0, [0, 1, 2, 3], 1), (1, [4, 0], 4)]
    assert examples("valid") == [(0, [0, 1, 2], 3), (1, [4], 0)]
    # cat has too few items to be evaluated, so both are used for training.
    assert examples("train") == [(0, [0], 1), (0, [0, 1], 2), (2, [2], 3)]
    # Training items: 0, 1 and 2 of ann, 4 of bob, 2 and 3 of cat, 1 of dan.
    assert dataset.training_counts().tolist() == [1, 2, 2, 1, 1]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_features(folder: Path, dtype: str) -> None:
    before = Dataset.open(folder).manifest.fingerprint
    dataset = write_features(folder, vectors(dtype), identity())
    assert dataset.features().dtype == dtype
    assert np.array_equal(dataset.features("hashing"), vectors(dtype))
    assert dataset.manifest.fingerprint == before  # features are not part of the data
    assert any("features.hashing.npy" in line for line in verify(folder))


def test_which_features(folder: Path) -> None:
    with pytest.raises(InputError, match="no text features"):
        Dataset.open(folder).features()
    write_features(folder, vectors(), identity("a"))
    dataset = write_features(folder, vectors(), identity("b"))
    with pytest.raises(InputError, match="several text features: a, b"):
        dataset.features()
    with pytest.raises(InputError, match="'c'"):
        dataset.features("c")
    assert dataset.feature_set("b").encoder.name == "b"


def test_features_that_do_not_fit_are_refused(folder: Path) -> None:
    manifest = (folder / "manifest.json").read_bytes()
    broken = vectors()
    broken[3, 1] = np.nan
    for array, what in ((broken, "row 3"), (vectors()[:4], r"\[4, 3\], expected \[5, 3\]")):
        with pytest.raises(InputError, match=what):
            write_features(folder, array, identity())
    assert (folder / "manifest.json").read_bytes() == manifest
    assert not list(folder.glob("*features*"))


def test_feature_files_stay_in_the_folder() -> None:
    assert feature_file("minilm") == "features.minilm.npy"
    assert feature_file("org/model:cls") == "features.org%2Fmodel%3Acls.npy"
    odd = [
        "../../etc/x",
        "/",
        "-",
        "",
        ".",
        "..",
        "a/b",
        "a-b",
        "a:b",
        "a%2Fb",
        "A/b",
        "é",
        "e\u0301",
    ]
    odd += ["long" * 99, "long" * 99 + "/"]
    files = [feature_file(name) for name in odd]
    assert len(set(files)) == len(odd)
    assert all(Path(name).name == name and len(name) < 255 for name in files)


def test_a_file_of_an_older_name_gives_way_and_is_never_taken(folder: Path) -> None:
    write_features(folder, vectors(), identity("org/a"))
    old, new = folder / "features.org-a.npy", folder / "features.org%2Fa.npy"
    new.rename(old)
    edit(folder / "manifest.json", lambda m: m["features"]["org/a"].update(file=old.name))
    assert np.array_equal(Dataset.open(folder).features("org/a", verify=True), vectors())
    # Another encoder's name leads to the same file name; both files are kept.
    dataset = write_features(folder, vectors() + 1, identity("org-a"))
    assert np.array_equal(dataset.features("org/a", verify=True), vectors())
    assert np.array_equal(dataset.features("org-a", verify=True), vectors() + 1)
    dataset = write_features(folder, vectors() + 2, identity("org/a"))
    assert np.array_equal(dataset.features("org/a", verify=True), vectors() + 2)
    assert not old.exists()
    verify(folder)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("damage", "place", "what"),
    [
        (lambda f: (f / "manifest.json").unlink(), "", "no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json", "not valid JSON"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json", "is not a manifest"),
        (lambda f: edit(f / "manifest.json", lambda m: m.pop("split")), "manifest.json", "split"),
        (
            lambda f: edit(f / "manifest.json", lambda m: m.update(format=9)),
            "manifest.json",
            "format 9",
        ),
        (
            lambda f: edit(f / "manifest.json", lambda m: m.update(files={})),
            "manifest.json",
            "does not name the files",
        ),
        (
            lambda f: edit(f / "manifest.json", lambda m: m.update(counts={"users": "4"})),
            "manifest.json",
            "does not name the files",
        ),
        (
            lambda f: edit(f / "manifest.json", lambda m: m["files"].update({"../x": "0"})),
            "manifest.json",
            "outside its folder",
        ),
        (lambda f: (f / "users.parquet").unlink(), "users.parquet", "is missing"),
        (lambda f: (f / "users.parquet").write_bytes(b"PAR1"), "users.parquet", "has changed"),
        (lambda f: (f / "sequences.npy").write_bytes(b""), "sequences.npy", "has changed"),
    ],
)
def test_damage_is_named(
    folder: Path, damage: Callable[[Path], object], place: str, what: str
) -> None:
    damage(folder)
    with pytest.raises(InputError, match=what) as caught:
        Dataset.open(folder)
    assert (caught.value.where or "").startswith(str(folder / place))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sequences.npy", b""),
        ("sequences.npy", b"PK\x03\x04 a zip"),
        ("sequences.npy", np.array([1, 2, 3], dtype="<i8")),
        ("sequences.npy", np.full(11, 5, dtype="<i4")),
        ("sequences.npy", np.full(11, -1, dtype="<i4")),
        ("offsets.npy", np.array([0, 5, 4, 10, 11], dtype="<i8")),
        ("offsets.npy", np.array([0, 5, 8, 10, 12], dtype="<i8")),
        ("offsets.npy", np.array([], dtype="<i8")),
        ("offsets.npy", np.array([{}], dtype=object)),
    ],
)
def test_arrays_are_checked_even_where_hashes_are_not(
    folder: Path, name: str, content: bytes | np.ndarray
) -> None:
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        # Pickle is written here, never read: opening must refuse the file.
        np.save(folder / name, content, allow_pickle=True)
    with pytest.raises(InputError):
        Dataset.open(folder, verify=False)


def test_tables_are_checked_when_they_are_read(folder: Path) -> None:
    (folder / "items.parquet").write_bytes(b"PAR1 not")
    pl.DataFrame({"user_id": ["ann"]}).write_parquet(folder / "users.parquet")
    dataset = Dataset.open(folder, verify=False)
    with pytest.raises(InputError, match="parquet"):
        _ = dataset.items
    with pytest.raises(InputError, match="does not fit"):
        _ = dataset.users


def test_verify_looks_at_features_and_ids(folder: Path) -> None:
    write_features(folder, vectors(), identity())
    good = "\n".join(verify(folder))
    assert f"split hash: {Dataset.open(folder).manifest.fingerprint}" in good
    assert "features.hashing.npy: as written, [5, 3], finite" in good
    path = folder / "features.hashing.npy"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"\x7f")
    with pytest.raises(InputError, match="has changed"):
        verify(folder)
    path.unlink()
    with pytest.raises(InputError, match="is missing"):
        verify(folder)
    path.write_bytes(good)
    items = pl.read_parquet(folder / "items.parquet").with_columns(item_id=pl.lit("same"))
    dataset = Dataset.open(folder)
    write_dataset(
        folder,
        name="Shop",
        items=items,
        user_ids=dataset.users["user_id"].to_list(),
        sequences=np.array(dataset.sequences),
        offsets=np.array(dataset.offsets),
        sources=[],
        settings={},
        counts={},
    )
    with pytest.raises(InputError, match="'same' is there twice"):
        verify(folder)
