"""Training on some of the examples: what is learned, what is recorded, and resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miracle_core.config import Settings, make_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.examples import Examples, picked
from miracle_core.data.packed import Packed
from miracle_core.errors import InputError
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import load_run
from miracle_core.runs.tensors import load_tensors
from miracle_core.systems.base import Batch
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.training import trainer
from miracle_core.training.finetuning import finetune
from tests.training.support import quick_settings, same_tensors
from tests.training.test_resume import assert_same_run, stop_at


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return quick_settings(tmp_path / "data", train__epochs=2)


def some(settings: Settings) -> Examples:
    """Every third training example."""
    every = Dataset.open(settings.data).examples("train")
    return Examples(every.users[::3], every.positions[::3])


def test_only_the_examples_named_are_learned_from(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, chosen = Dataset.open(settings.data), some(settings)
    learned: list[tuple[tuple[int, ...], int]] = []
    whole = Miracle.objective

    def heard(self: Miracle, items: Any, batch: Batch, *more: Any) -> Any:
        histories = parts(batch.packed)
        learned.extend(zip(histories, batch.targets.tolist(), strict=True))
        return whole(self, items, batch, *more)

    monkeypatch.setattr(Miracle, "objective", heard)
    result = finetune(settings, tmp_path / "run", examples=chosen)
    wanted = [
        (
            tuple(dataset.sequences[dataset.offsets[user] : end].tolist()[-6:]),
            dataset.sequences[end],
        )
        for user, end in zip(chosen.users, chosen.positions, strict=True)
    ]
    assert sorted(learned) == sorted([*wanted, *wanted])  # two epochs
    every = len(dataset.examples("train"))
    assert result["few_examples"] == {"learned": len(chosen), "of": every}
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    told = f"{len(chosen)} of the {every} training examples"
    assert told in (tmp_path / "run" / "README.md").read_text()


def parts(packed: Packed) -> list[tuple[int, ...]]:
    lengths = [length for length, count in packed.groups for _ in range(count)]
    return [tuple(part.tolist()) for part in packed.items.split(lengths)]


def test_all_users_are_ranked_and_the_hash_of_the_data_is_another(
    settings: Settings, tmp_path: Path
) -> None:
    finetune(settings, tmp_path / "few", examples=some(settings))
    result = finetune(settings, tmp_path / "all")
    assert "few_examples" not in result
    assert not RunFolder(tmp_path / "all").examples.exists()
    few, every = (load_run(tmp_path / name) for name in ("few", "all"))
    assert len(few.dataset.examples("test")) == len(every.dataset.examples("test"))
    hashes = {load_tensors(run.folder.weights)[1]["data"] for run in (few, every)}
    assert len(hashes) == 2
    # Without its list of examples, the run must not open as if trained on all of them.
    few.folder.examples.unlink()
    with pytest.raises(InputError, match="not what its weights were learned from"):
        load_run(few.folder.path)


def test_all_examples_by_name_are_all(settings: Settings, tmp_path: Path) -> None:
    every = Dataset.open(settings.data).examples("train")
    result = finetune(settings, tmp_path / "named", examples=every)
    finetune(settings, tmp_path / "all")
    assert result["few_examples"] == {"learned": len(every), "of": len(every)}
    assert same_tensors(*(tmp_path / name / "model.safetensors" for name in ("named", "all")))


def test_a_run_goes_on_with_its_own_examples(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = some(settings)
    finetune(settings, tmp_path / "whole", examples=chosen)
    finetune(settings, tmp_path / "run", examples=chosen, should_stop=stop_at(1))
    with pytest.raises(InputError, match="keeps the examples that it was begun with"):
        finetune(settings, tmp_path / "run", examples=chosen, resume=True)
    finetune(settings, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # killed before the first checkpoint
        patch.setattr(trainer.Training, "step", die)
        with pytest.raises(KeyboardInterrupt):
            finetune(settings, tmp_path / "early", examples=chosen)
    finetune(settings, tmp_path / "early", resume=True)
    assert_same_run(tmp_path / "early", tmp_path / "whole")


def test_other_examples_in_the_folder_are_noticed(settings: Settings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    finetune(settings, run.path, examples=some(settings), should_stop=stop_at(1))
    kept = run.read_examples()
    assert kept is not None
    np.save(run.examples, kept[1:].copy())
    with pytest.raises(InputError, match="data has changed since its checkpoint"):
        finetune(settings, run.path, resume=True)
    with pytest.raises(InputError, match="not what its weights were learned from"):
        load_run(run.path)
    run.examples.write_bytes(b"no array")
    with pytest.raises(InputError, match=r"not a plain NumPy array") as caught:
        finetune(settings, run.path, resume=True)
    assert caught.value.where == str(run.examples)


@pytest.mark.parametrize(
    ("positions", "says"),
    [
        ([], "names no example"),
        ([0], "position 0 is not the target of a training example"),
        ([10**9], "position 1000000000 is not the target"),
        ([-1], "position -1 is not the target"),
        ("twice", "names an example twice"),
    ],
)
def test_examples_that_are_not_the_datasets_write_nothing(
    settings: Settings, tmp_path: Path, positions: Any, says: str
) -> None:
    if positions == "twice":
        positions = [*some(settings).positions[:2], some(settings).positions[0]]
    given = np.array(positions, dtype=np.int64)
    with pytest.raises(InputError, match=says):
        finetune(settings, tmp_path / "run", examples=Examples(np.zeros_like(given), given))
    assert not (tmp_path / "run").exists()


def test_a_system_that_is_fitted_takes_no_examples(settings: Settings, tmp_path: Path) -> None:
    own = make_settings({"data": settings.data, "model": {"kind": "popularity"}})
    with pytest.raises(InputError, match="popularity is fitted to the whole training part"):
        finetune(own, tmp_path / "run", examples=some(settings))
    assert not (tmp_path / "run").exists()


def test_examples_are_found_in_any_order() -> None:
    every = Examples(np.array([0, 0, 1, 1]), np.array([9, 4, 20, 15]))  # in the order of windows
    found = picked(every, np.array([20, 9, 4]))
    assert (found.users.tolist(), found.positions.tolist()) == ([1, 0, 0], [20, 9, 4])
