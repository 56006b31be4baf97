"""What a step dispatches has a ceiling; a GPU waits for launches."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import launches
from benchmarks.launches import Launches, counted, measured, training_of
from miracle_core import registry
from miracle_core.data.dataset import Dataset
from tests.support import markov
from tests.support.runs import tiny_shop

# Of a padded step at a system's default settings. A step of one block of scores, as the shop of the
# test has, dispatches as many operators as one of Scientific: numbers of layers, heads and
# iterations decide, not sizes. nn.GRU is one kernel on a GPU, and some thirty operators an item and
# layer on a processor.
CEILINGS = {"miracle": 650, "sasrec": 350, "mind": 320, "comirec": 230, "gru4rec": 850}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "data"
    tiny_shop(folder)
    return folder


@pytest.mark.parametrize("kind", [s.name for s in registry.systems() if s.system_class().padded])
def test_a_padded_step_stays_below_its_ceiling_and_reads_nothing_back(
    shop: Path, kind: str
) -> None:
    training = training_of(shop, kind, "padded", {"train": {"batch_size": 8}})
    found = counted(training)
    assert found.syncs.total() == 0, found.syncs
    assert 100 < found.operators.total() <= CEILINGS.get(kind, 700)


def test_the_number_does_not_depend_on_the_batch(shop: Path) -> None:
    numbers = set()
    for size in (3, 8):
        training = training_of(shop, "miracle", "padded", {"train": {"batch_size": size}})
        numbers.add(counted(training).operators.total())
    assert len(numbers) == 1


def test_a_packed_step_has_one_walk_for_each_length_of_history(shop: Path) -> None:
    found = measured(shop, "miracle", {"train": {"batch_size": 8}})
    packed, padded = found["packed"], found["padded"]
    assert packed is not None and padded is not None
    assert packed["operators"] > padded["operators"]
    assert packed["syncs"] > padded["syncs"] == 0


def test_views_are_not_counted_and_host_reads_are() -> None:
    x = torch.arange(6.0)
    with Launches() as seen:
        y = (x * 2).view(2, 3).T[0].unsqueeze(0)
        x.nonzero()
        float(y.sum())
        x.tolist()
    assert dict(seen.operators) == {
        "aten::mul": 1,
        "aten::nonzero": 1,
        "aten::sum": 1,
        "aten::_local_scalar_dense": 1,
    }
    assert dict(seen.syncs) == {"aten::nonzero": 1, "aten::_local_scalar_dense": 1}


def test_a_copy_to_the_host_is_a_read() -> None:
    meta = torch.empty(3, device="meta")
    assert launches._to_host((meta,), torch.empty(3))
    assert launches._to_host((torch.empty(3), meta), torch.empty(3))
    assert not launches._to_host((torch.empty(3),), meta)
    assert not launches._to_host((torch.empty(3), torch.empty(3)), torch.empty(3))


def test_json_has_both_layouts_and_null_for_one_that_a_system_does_not_take(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.register(markov.SPEC)
    try:
        words = ["launches", "--json", "--data", str(shop), "--system", "markov", "--batch", "4"]
        monkeypatch.setattr(sys, "argv", words)
        launches.main()
    finally:
        registry.unregister(markov.SPEC.name)
    result = json.loads(capsys.readouterr().out)
    assert list(result) == ["packed", "padded"]
    assert set(result["packed"]) == {"operators", "syncs"}
    assert result["padded"] is None


def test_data_of_the_right_shape_is_generated(tmp_path: Path) -> None:
    dataset = Dataset.open(launches.shaped_like_scientific(tmp_path / "data"))
    assert (dataset.n_users, dataset.n_items) == (8442, 4385)
    assert dataset.feature_set().encoder.width == 384
    assert dataset.attributes.height == 4385
