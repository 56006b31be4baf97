"""Batches that are kept on the device or made by a thread equal those made on demand."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from miracle_core.data.corpus import Corpus
from miracle_core.data.dataset import Dataset
from miracle_core.errors import MiracleError
from miracle_core.processes import ALONE
from miracle_core.runs.folder import RunFolder
from miracle_core.training import feeding
from miracle_core.training.feeding import Ahead, Resident, Taken, feed
from miracle_core.training.finetuning import Finetuning, finetune
from miracle_core.training.pretraining import Pretraining, begun, pretrain
from tests.support.runs import tiny_shop
from tests.training.support import pretrain_settings, quick_settings, same_tensors, settings_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("shop") / "data"
    tiny_shop(folder)
    return Dataset.open(folder)


def same(one: Taken, other: Taken) -> None:
    for name in ("items", "positions", "order", "valid"):
        assert torch.equal(getattr(one.packed, name), getattr(other.packed, name)), name
    assert one.packed.groups == other.packed.groups
    assert torch.equal(one.targets, other.targets)
    assert torch.equal(one.examples, other.examples)


def test_what_is_gathered_is_what_is_padded(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = dataset.examples("train")
    resident = feed(dataset, examples, 3, CPU, padded=True)
    assert isinstance(resident, Resident)
    monkeypatch.setattr(feeding, "RESIDENT_BYTES", 10)
    made = feed(dataset, examples, 3, CPU, padded=True)
    assert isinstance(made, Ahead)
    for chosen in (np.arange(len(examples)), np.array([5, 2, 2, 7]), np.array([0])):
        same(resident.take(chosen), made.take(chosen))


def test_packed_histories_are_made_on_the_host(dataset: Dataset) -> None:
    examples = dataset.examples("train")
    taken = feed(dataset, examples, None, CPU, padded=False).take(np.arange(6))
    assert taken.packed.valid is None
    targets = dataset.sequences[examples.positions[taken.packed.order.numpy()]]
    assert taken.targets.tolist() == targets.tolist()
    assert taken.examples.tolist() == taken.packed.order.tolist()


def test_a_thread_makes_what_is_expected_while_others_work() -> None:
    made: list[tuple[list[int], str]] = []

    def make(chosen: np.ndarray) -> int:
        made.append((chosen.tolist(), threading.current_thread().name))
        return int(chosen.sum())

    ahead = Ahead(make, thread=True)
    ahead.expect(np.array([1, 2]))
    assert ahead.take(np.array([3])) == 3  # not expected: made at once by the caller
    assert ahead.take(np.array([1, 2])) == 3
    assert ahead.take(np.array([1, 2])) == 3  # requested a second time
    names = dict((tuple(chosen), name) for chosen, name in made[:2])
    assert names[1, 2].startswith("batches")
    assert names[3,] == threading.current_thread().name
    assert len(made) == 3


def test_an_error_in_the_thread_is_raised_where_the_batch_is_taken() -> None:
    def make(chosen: np.ndarray) -> int:
        raise ValueError(f"history {chosen[0]} of the batch is empty")

    ahead = Ahead(make, thread=True)
    ahead.expect(np.array([4]))
    with pytest.raises(ValueError, match="history 4"):
        ahead.take(np.array([4]))


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_training_fed_by_a_thread_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    settings = quick_settings(
        tmp_path / "data", train__layout=layout, train__epochs=2, train__accumulation=2
    )
    finetune(settings, tmp_path / "usual")
    monkeypatch.setattr(feeding, "RESIDENT_BYTES", 0)
    expected: list[bytes] = []

    class Threaded(Ahead[Taken]):
        def __init__(self, make: object, *, thread: bool) -> None:
            super().__init__(make, thread=True)  # type: ignore[arg-type]

        def expect(self, chosen: np.ndarray) -> None:
            expected.append(chosen.tobytes())
            super().expect(chosen)

        def take(self, chosen: np.ndarray) -> Taken:
            # All steps but the first of each epoch were announced.
            assert len(taken) % 10 < 2 or chosen.tobytes() in expected
            taken.append(chosen.tobytes())
            return super().take(chosen)

    taken: list[bytes] = []
    monkeypatch.setattr(feeding, "Ahead", Threaded)
    finetune(settings, tmp_path / "ahead")
    assert len(taken) == 20
    assert same_tensors(
        tmp_path / "usual" / "model.safetensors", tmp_path / "ahead" / "model.safetensors"
    )


def test_nothing_is_read_back_between_reports(tmp_path: Path) -> None:
    """Sums are read only in :meth:`Training.collect`, and equal those of the single steps."""
    settings = quick_settings(tmp_path / "data", train__layout="padded")
    dataset = Dataset.open(settings.data)
    training = Finetuning(settings, RunFolder(tmp_path / "run"), dataset, None, ALONE)
    for start in (0, 8, 16):
        training.step(np.arange(start, start + 8))
    assert training.position.sums == {}
    assert len(training.unread) == 3
    losses = [float(each.values[0]) for each in training.unread]
    training.collect()
    assert training.position.sums["loss"] == sum(losses)
    assert training.position.sums["examples"] == 24
    training.collect()
    assert training.position.sums["loss"] == sum(losses)


def test_pretraining_takes_padded_batches(tmp_path: Path) -> None:
    settings = pretrain_settings(tmp_path, train__layout="padded")
    corpus = Corpus.open(settings.datasets)
    training = Pretraining(settings, RunFolder(tmp_path / "run"), corpus, ALONE)
    taken, numbers, text = training.batches.take(np.arange(5))
    assert taken.packed.valid is not None
    assert len(numbers) == len(text)
    training.step(np.arange(5))
    training.collect()
    assert set(training.position.sums) > {"contrast", "loss"}


@pytest.mark.parametrize("kind", ["finetune", "bert4rec", "fdsa", "heads", "s3rec", "unisrec"])
def test_a_padded_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    settings = settings_of(f"{kind} padded", tmp_path)
    train = settings.train.model_copy(update={"epochs": 2, "batch_size": 8})
    settings = settings.model_copy(update={"train": train})
    start = pretrain if settings.datasets else finetune
    start(settings, tmp_path / "whole")
    steps = iter(range(100))
    stopped = start(settings, tmp_path / "run", should_stop=lambda: next(steps) == 2)
    assert stopped["status"] == "interrupted"
    result = start(settings, tmp_path / "run", resume=True)
    assert result["status"] == "finished"
    assert same_tensors(
        tmp_path / "whole" / "model.safetensors", tmp_path / "run" / "model.safetensors"
    )
    one, other = (RunFolder(tmp_path / name).history() for name in ("whole", "run"))
    assert [each["train"] for each in one] == [each["train"] for each in other]
    assert [each["valid"] for each in one] == [each["valid"] for each in other]


def test_a_validation_by_its_loss_is_the_same_in_both_layouts(tmp_path: Path) -> None:
    found = []
    for kind in ("s3rec", "s3rec padded"):
        settings = settings_of(kind, tmp_path)
        training = begun(settings, RunFolder(tmp_path / "run"), ALONE)
        assert training.padded == (kind == "s3rec padded")
        found.append(training.validate().metrics)
    assert found[0].keys() == found[1].keys() > {"loss", "segment"}
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-5), name


def test_no_checkpoint_is_written_after_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=1)
    finetune(settings, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    before = folder.state.read_bytes()
    training = Finetuning(settings, folder, Dataset.open(settings.data), None, ALONE)
    training.step(np.arange(8))
    with torch.no_grad():
        next(iter(training.system.parameters())).fill_(torch.nan)
    training.step(np.arange(8))
    with pytest.raises(MiracleError, match="not finite"):
        training.save()
    assert folder.state.read_bytes() == before
