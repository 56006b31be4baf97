"""A limit on the operators that a training step dispatches, since GPUs wait for launches."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import launches
from benchmarks.launches import Launches, counted, measured, training_of
from miracle_core import registry
from miracle_core.data.dataset import Dataset
from tests.support import markov
from tests.support.runs import tiny_shop

# For a padded step at a system's default settings. The counts depend on the numbers of layers,
# heads and iterations, not on sizes: a step whose scores fit in one block, as in this test's shop,
# dispatches as many operators as one on Scientific. nn.GRU is one kernel on a GPU, but some thirty
# operators per item and layer on a CPU.
CEILINGS = {
    "bert4rec": 590,
    "comirec": 230,
    "fdsa": 580,
    "gru4rec": 850,
    "heads": 400,
    "mind": 320,
    "miracle": 650,
    "s3rec": 350,
    "sasrec": 350,
    "unisrec": 400,
}
# The same for pre-training.
PRETRAINING_CEILINGS = {"miracle": 1200, "s3rec": 1300, "unisrec": 800}
# Operators that wait for the size of their output, which the counter of host reads does not see.
WAITING = {
    *("bincount", "masked_select", "repeat_interleave", "unique_consecutive", "unique_dim"),
    *("_unique2", "is_nonzero", "equal"),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "data"
    tiny_shop(folder, attributes=True)
    return folder


def test_every_trained_system_has_a_ceiling() -> None:
    trained = [spec for spec in registry.systems() if "train" in spec.stages]
    assert {spec.name for spec in trained} == CEILINGS.keys()
    pretrained = {spec.name for spec in trained if "pretrain" in spec.stages}
    assert pretrained == PRETRAINING_CEILINGS.keys()


@pytest.mark.parametrize(
    ("kind", "ceiling", "pretrain"),
    [
        *((kind, ceiling, False) for kind, ceiling in CEILINGS.items()),
        *((kind, ceiling, True) for kind, ceiling in PRETRAINING_CEILINGS.items()),
    ],
)
def test_a_padded_step_stays_below_its_ceiling_and_reads_nothing_back(
    shop: Path, kind: str, ceiling: int, pretrain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launches, "Launches", Strict)
    more = {"train": {"batch_size": 8}}
    found = counted(training_of(shop, kind, "padded", more, pretrain=pretrain))
    assert isinstance(found, Strict)
    assert found.syncs.total() == 0, found.syncs
    assert found.waiting == set()
    assert 100 < found.operators.total() <= ceiling


class Strict(Launches):
    """Also records operators that wait without a visible host read, such as boolean indexing.

    Attributes:
        waiting: the names of these operators.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        known = name == "repeat_interleave" and (kwargs or {}).get("output_size") is not None
        by_mask = name.startswith("index") and any(
            each is not None and each.dtype in (torch.bool, torch.uint8)
            for each in (args[1] if isinstance(args[1], (list, tuple)) else ())
        )
        if (name in WAITING and not known) or by_mask:
            self.waiting.add(name)
        return super().__torch_dispatch__(func, types, args, kwargs)


def test_what_waits_unseen_is_seen() -> None:
    x = torch.arange(6.0)
    with Strict() as seen:
        x[torch.arange(3)]
        torch.arange(3).repeat_interleave(torch.ones(3, dtype=torch.int64), output_size=3)
    assert seen.waiting == set()
    with Strict() as seen:
        x[x > 2]
        torch.arange(3).bincount()
        torch.arange(3).unique()
    assert seen.waiting == {"index", "bincount", "_unique2"}


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
