"""What preparation leaves out: counts, their sum, and the option that keeps it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miracle_core.data.dataset import Dataset
from miracle_core.data.filters import COUNTED
from miracle_core.data.losses import left_out, losses
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError
from miracle_core.recommender.catalogue import Catalogue
from tests.data.support import ITEMS, lines, meta, retail_csv, reviews, write
from tests.data.test_filters import DAY, START, Row, interactions

# x has one interaction, with an item that nobody else bought. Nobody bought items e to h.
ROWS: list[Row] = [
    *((user, item, START + n * DAY) for n, item in enumerate("abc") for user in "uvw"),
    ("x", "d", START),
]


def prepared(folder: Path, rows: list[Row], **options: object) -> Dataset:
    return prepare(interactions(rows), PrepareSettings(**options), folder)


def test_the_filters_say_what_they_lost(tmp_path: Path) -> None:
    found = losses(prepared(tmp_path / "out", ROWS, k_core=2, since=str(START + DAY)))
    assert [tuple(loss.model_dump().values()) for loss in found] == [
        ("items nobody took dropped", 0, 4, 0, "--keep-unsold"),
        (f"since {START + DAY}", 1, 2, 4, "leave out --since"),
    ]
    found = losses(prepared(tmp_path / "out", ROWS, user_core=2, item_core=3))
    assert found[-1].model_dump() == {
        "step": "2-core, items 3",
        "users": 1,
        "items": 1,
        "interactions": 1,
        "keep": "--user-core 0 --item-core 0",
    }


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        ({"k_core": 2}, "--k-core 0"),
        ({"k_core": 0, "user_core": 2}, "--k-core 0 --user-core 0"),
        ({"k_core": 0, "min_length": 2}, "leave out --min-length"),
        ({"k_core": 0, "max_length": 2}, "leave out --max-length"),
        ({"k_core": 0, "until": str(START + DAY)}, "leave out --until"),
    ],
)
def test_how_to_keep_it(tmp_path: Path, options: dict[str, object], keep: str) -> None:
    assert losses(prepared(tmp_path / "out", ROWS, **options))[-1].keep == keep


LOGS = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdefgh"), st.integers(0, 40)),
    min_size=8,
    max_size=50,
)
OPTIONS = st.fixed_dictionaries(
    {
        "k_core": st.integers(0, 2),
        "repeats": st.sampled_from(["keep", "first"]),
        "duplicates": st.sampled_from(["keep", "drop"]),
        "split": st.sampled_from(["leave-one-out", "temporal"]),
        "keep_unsold": st.booleans(),
        "min_length": st.sampled_from([None, 2]),
        "max_length": st.sampled_from([None, 5]),
        "since": st.sampled_from([None, "3"]),
    }
)


@given(LOGS, OPTIONS)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_what_is_left_and_what_was_lost_are_all_there_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], options: dict[str, object]
) -> None:
    if options["split"] == "temporal":
        rows = [("u", "a", 0), ("u", "b", 40), *rows]
        options = {**options, "valid_from": "15", "test_from": "28"}
    folder = tmp_path_factory.mktemp("losses") / "out"
    try:
        dataset = prepared(folder, rows, **options)
    except InputError as error:
        assert "empty" in error.what or "nothing is left" in error.what
        return
    found = losses(dataset)
    for name, left, there_was in (
        ("users", dataset.n_users, len({row[0] for row in rows})),
        ("items", dataset.n_items, 8),
        ("interactions", dataset.n_interactions, len(rows)),
    ):
        lost = [getattr(loss, name) for loss in found]
        assert min(lost, default=0) >= 0
        assert left + sum(lost) == there_was, name
    assert all(loss.keep for loss in found)
    if options["keep_unsold"]:
        assert dataset.n_items == 8


def test_an_unknown_id_may_be_one_that_the_filters_lost(tmp_path: Path) -> None:
    names = Catalogue(prepared(tmp_path / "out", ROWS, k_core=2))
    with pytest.raises(InputError) as caught:
        names.user("x")
    assert caught.value.what == "there is no user 'x'"
    assert "1 by '2-core' (to keep them: --k-core 0)" in str(caught.value.remedy)
    with pytest.raises(InputError) as caught:
        names.item("h")
    assert "4 by 'items nobody took dropped' (to keep them: --keep-unsold)" in str(
        caught.value.remedy
    )
    everybody = prepared(tmp_path / "all", ROWS, k_core=0, keep_unsold=True)
    with pytest.raises(InputError) as caught:
        Catalogue(everybody).user("y")
    assert caught.value.remedy == "ids look like u"
    assert left_out(everybody, "item") == ""


def test_older_and_damaged_manifests(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "out", ROWS, k_core=2).folder
    path = folder / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    manifest["counts"]["lost"] = [{"step": "a"}]
    path.write_bytes(orjson.dumps(manifest))
    with pytest.raises(InputError, match="left out") as caught:
        losses(Dataset.open(folder))
    assert caught.value.where == str(path)
    del manifest["counts"]["lost"]
    path.write_bytes(orjson.dumps(manifest))
    assert losses(Dataset.open(folder)) == ()


def test_what_reading_lost_counts_too(tmp_path: Path) -> None:
    paths = write(tmp_path, retail__csv=retail_csv().encode())
    dataset = prepare(read("online-retail", paths), PrepareSettings(k_core=0), tmp_path / "out")
    # A row without a customer belongs to no user.
    assert [tuple(loss.model_dump().values()) for loss in losses(dataset)] == [
        ("cancelled invoices dropped", 0, 0, 1, "--format table"),
        ("quantities below 1 dropped", 0, 0, 1, "--format table"),
        ("rows without a customer dropped", 0, 0, 1, "--user-column InvoiceNo"),
        ("items without text dropped", 0, 1, 1, "give the items a title in the item file"),
    ]


def test_a_shops_items_that_nobody_took_are_counted_or_read(tmp_path: Path) -> None:
    unsold = lines({"asin": "new", "title": "Brand &amp; new"}, {"asin": "blank", "title": ""})
    paths = write(tmp_path, r__json=lines(*reviews()), m__json=meta() + unsold)
    found = read("amazon2018", paths)
    assert (found.items.height, found.unsold) == (2, 2)
    dropped = losses(prepare(found, PrepareSettings(k_core=0), tmp_path / "out"))
    assert ("items nobody took dropped", 2, "--keep-unsold") in [
        (loss.step, loss.items, loss.keep) for loss in dropped
    ]
    # They can't be kept, because they were not read.
    with pytest.raises(InputError, match="2 items that nobody took were not read"):
        prepare(found, PrepareSettings(k_core=0, keep_unsold=True), tmp_path / "no")
    found = read("amazon2018", paths, ReadOptions(keep_unsold=True))
    dataset = prepare(found, PrepareSettings(k_core=0, keep_unsold=True), tmp_path / "kept")
    assert dataset.items["item_id"].to_list() == [*ITEMS[:2], "new"]
    assert dataset.items["title"].to_list()[-1] == "Brand & new"
    assert [(loss.step, loss.items) for loss in losses(dataset) if loss.items] == [
        ("items without text dropped", 1),  # the third review's item has no row
        ("items without text dropped", 1),  # its text is blank
    ]


def test_skipped_items_without_text_are_a_step_with_their_users(tmp_path: Path) -> None:
    rows = "user_id,item_id,timestamp,title\nu,a,1,Hammer\nu,b,2,\nv,b,1,\nv,c,2,Drill\nw,b,3,\n"
    paths = write(tmp_path, shop__csv=rows.encode())
    found = read("table", paths, ReadOptions(on_error="skip"))
    dataset = prepare(found, PrepareSettings(k_core=0), tmp_path / "out")
    counts = dataset.manifest.counts
    assert [tuple(step[name] for name in COUNTED) for step in counts["steps"][:2]] == [
        (3, 3, 5),  # users, items, interactions
        (2, 2, 2),
    ]
    assert [tuple(loss.model_dump().values()) for loss in losses(dataset)] == [
        ("items without text dropped", 1, 1, 3, "give them a title or a text"),
    ]
    assert counts["skipped"][0]["rows"] == 3
