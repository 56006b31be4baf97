"""Items that nobody took are kept in the catalogue, in everything that reads a Dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from miracle_cli.main import main
from miracle_core.data.dataset import Dataset
from miracle_core.data.export import export_atomic
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.data.statistics import describe
from miracle_core.data.verify import verify
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.references import references
from tests.data.test_filters import Row, interactions, sequences
from tests.support.scorers import fitted

# a, c, e and g are sold; d is sold too rarely for the 3-core; b, f and h are unsold.
ROWS: list[Row] = [(u, i, n) for n, i in enumerate("aceg") for u in "uvwx"] + [("u", "d", 9)]
LEFT = PrepareSettings(k_core=3, keep_unsold=True)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return prepare(interactions(ROWS), LEFT, tmp_path / "data")


def test_the_whole_catalogue_stays_in_its_order(dataset: Dataset) -> None:
    assert dataset.items["item_id"].to_list() == list("abcdefgh")
    assert sequences(dataset) == {user: "aceg" for user in "uvwx"}
    assert dataset.training_counts().tolist() == [4, 0, 4, 0, 0, 0, 0, 0]
    steps = dataset.manifest.counts["steps"]
    assert [(step["step"], step["items"]) for step in steps] == [
        ("as read", 8),
        ("3-core", 4),
        ("with the items that no interaction is left of", 8),
    ]
    assert dataset.manifest.settings["keep_unsold"] is True


def test_purchases_that_filters_removed_are_told(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.manifest.counts["steps"][-1]["taken_before"] == 1  # d, but not b, f and h
    bought = "".join(f"{user},{item},{n}\n" for user, item, n in ROWS)
    (tmp_path / "sales.csv").write_text("user,item,time\n" + bought)
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"{i},{i}\n" for i in "abcdefgh"))
    words = f"preprocess {tmp_path / 'sales.csv'} --format table --items {tmp_path / 'items.csv'}"
    words += " --user-column user --item-column item --time-column time --title-column title"
    for core, says in (("3", True), ("0", False)):
        out = str(tmp_path / core)
        assert main([*words.split(), "--out", out, "--keep-unsold", "--k-core", core]) == 0
        told = "1 items without sales were bought in the files" in capsys.readouterr().err
        assert told is says


def test_without_the_option_they_are_gone(tmp_path: Path) -> None:
    gone = prepare(interactions(ROWS), PrepareSettings(k_core=0), tmp_path / "out")
    assert gone.items["item_id"].to_list() == list("acdeg")


def test_figures_and_verification(dataset: Dataset) -> None:
    found = describe(dataset)
    assert (found.items, found.cold.items, found.mean_item) == (8, 6, 16 / 8)
    assert found.density == 16 / 32
    assert found.popularity[-1] == (1.0, 1.0)
    assert "item_core 3: kept by every item" in verify(dataset.folder)


def test_verification_still_finds_an_item_that_is_too_rare(dataset: Dataset) -> None:
    path = dataset.folder / "manifest.json"
    path.write_text(path.read_text().replace('"item_core": 3', '"item_core": 5'))
    assert main(["data", "verify", str(dataset.folder)]) == 2


def test_shown(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(dataset.folder)]) == 0
    out = capsys.readouterr().out
    assert "6 were never trained on" in out
    assert ["keep_unsold", "True"] in [line.split() for line in out.splitlines()]


def test_they_are_candidates(dataset: Dataset) -> None:
    found = evaluate(fitted("popularity", dataset), dataset, "test")
    assert found.n_items == 8
    of_popularity = references(dataset, "test")["popularity"].ranks
    assert sorted(found.ranks.tolist()) == sorted(of_popularity.tolist())
    # g is not in the training part, so it ties with the unsold items for the last ranks.
    assert 3 <= found.ranks[0] <= 8


def test_a_temporal_split(tmp_path: Path) -> None:
    settings = PrepareSettings(
        k_core=0, keep_unsold=True, split="temporal", valid_from="1", test_from="2"
    )
    dataset = prepare(interactions(ROWS), settings, tmp_path / "out")
    assert dataset.n_items == 8
    assert describe(dataset).cold.items == 7
    assert any("nothing looks ahead" in line for line in verify(dataset.folder))


def test_exported_and_read_back(dataset: Dataset, tmp_path: Path) -> None:
    export_atomic(dataset, tmp_path / "atomic")
    found = read("atomic", [tmp_path / "atomic"])
    again = prepare(found, PrepareSettings(keep_unsold=True), tmp_path / "again")
    for name in ("sequences.npy", "offsets.npy", "items.parquet", "users.parquet"):
        assert (again.folder / name).read_bytes() == (dataset.folder / name).read_bytes()
    assert prepare(found, PrepareSettings(), tmp_path / "sold").n_items == 4


def test_items_without_text_cannot_stay(tmp_path: Path) -> None:
    found = interactions(ROWS)
    blank = found.items["text"].set(found.items["item_id"] == "b", " ")
    found = type(found).checked(found.events, found.items.with_columns(blank), name="toy")
    dataset = prepare(found, LEFT, tmp_path / "out")
    assert dataset.items["item_id"].to_list() == list("acdefgh")
    assert dataset.manifest.counts["lost"][0]["step"] == "items without text dropped"
    assert np.array_equal(np.unique(dataset.sequences), [0, 1, 3, 5])
