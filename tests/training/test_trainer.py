"""The training loop: its records, early stopping, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miracle_core.config import load_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.errors import InputError, MiracleError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import load_run
from miracle_core.training.finetuning import finetune
from miracle_core.training.listeners import Listener, TensorBoard
from tests.support.runs import tiny_settings
from tests.training.support import quick_settings, same_tensors


class Heard(Listener):
    """Records the messages of a training."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def start(self, total_epochs: int, steps_per_epoch: int, n_examples: int) -> None:
        self.calls.append(("start", total_epochs, steps_per_epoch, n_examples))

    def step(self, epoch: int, step: int, report: dict[str, float]) -> None:
        self.calls.append(("step", epoch, step, report))

    def validating(self, epoch: int) -> None:
        self.calls.append(("validating", epoch))

    def epoch(self, record: dict[str, Any]) -> None:
        self.calls.append(("epoch", record))

    def testing(self) -> None:
        self.calls.append(("testing",))

    def end(self, status: str) -> None:
        self.calls.append(("end", status))


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_folder_holds_all_that_it_promises(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data")
    run, heard = tmp_path / "run", Heard()
    result = finetune(settings, run, listeners=[heard, TensorBoard(run / "tensorboard")])

    records = lines(run)
    assert [record["epoch"] for record in records] == [1, 2, 3, 4, 5]
    steps = -(-len(Dataset.open(run / "data").examples("train")) // 8)
    assert [record["step"] for record in records] == [steps * e for e in range(1, 6)]
    for record in records:
        train = record["train"]
        total = (
            train["recommendation"] + 10 / 32 * train["coverage"] + 0.01 * train["orthogonality"]
        )
        assert train["loss"] == pytest.approx(total, rel=1e-5)
    bests = [record["valid"]["recall@10"] for record in records]
    assert [r["best"] for r in records] == [
        value > max(bests[:place], default=-1.0) for place, value in enumerate(bests)
    ]
    assert records[-1]["train"]["loss"] < records[0]["train"]["loss"]

    assert json.loads((run / "result.json").read_text()) == result
    assert result["status"] == "finished"
    assert result["best_epoch"] == 1 + int(np.argmax(bests))
    assert result["valid"] == records[result["best_epoch"] - 1]["valid"]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    card = (run / "README.md").read_text()
    assert f"{result['test']['ndcg@10']:.4f}" in card
    assert load_settings(run / "config.toml").model == settings.model

    kinds = [call[0] for call in heard.calls if call[0] != "step"]
    assert kinds == ["start", *["validating", "epoch"] * 5, "testing", "end"]
    last_steps = [c for c in heard.calls if c[0] == "step" and c[2] == steps]
    assert [call[1] for call in last_steps] == [1, 2, 3, 4, 5]
    for call, record in zip(last_steps, records, strict=True):
        assert call[3].items() >= record["train"].items()


def test_the_weights_kept_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__metric="ndcg@3")
    result = finetune(settings, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert loaded.weights_from == "best"
    scorer = loaded.scorer()
    for split in ("valid", "test"):
        found = evaluate(scorer, loaded.dataset, split, ks=(3, 10, 50))
        assert found.metrics == result[split]
    assert result["valid"]["ndcg@3"] == max(r["valid"]["ndcg@3"] for r in lines(tmp_path / "run"))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        settings = quick_settings(tmp_path / "data", train__seed=seed, train__epochs=1)
        finetune(settings, tmp_path / name)
    a, b, c = (RunFolder(tmp_path / name).weights for name in "abc")
    assert same_tensors(a, b)
    assert not same_tensors(a, c)


@pytest.mark.parametrize("patience", [1, 3])
def test_it_stops_when_validation_no_longer_rises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    """With recall 0.1, 0.3, 0.2, 0.3, 0.3, 0.3, ... epoch 2 is the best: equal is not better."""
    values = iter([0.1, 0.3, 0.2, *[0.3] * 20])

    def scripted(*args: Any, **kwargs: Any) -> Any:
        found = evaluate(*args, **kwargs)
        if args[2] == "valid":
            found.metrics["recall@10"] = next(values)
        return found

    monkeypatch.setattr("miracle_core.training.finetuning.evaluate", scripted)
    settings = quick_settings(tmp_path / "data", train__epochs=50, train__patience=patience)
    result = finetune(settings, tmp_path / "run")
    assert (result["status"], result["best_epoch"]) == ("stopped early", 2)
    assert result["epochs"] == 2 + patience == len(lines(tmp_path / "run"))
    assert result["valid"]["recall@10"] == 0.3


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__learning_rate=1e38)
    with pytest.raises(MiracleError, match="not finite") as caught:
        finetune(settings, tmp_path / "run")
    assert caught.value.exit_code == 1
    assert "learning rate" in (caught.value.remedy or "")


def rewrite_features(folder: Path, change: str) -> None:
    """Damage the tiny shop's features, with or without updating the hash in the manifest."""
    dataset = Dataset.open(folder)
    file = folder / dataset.feature_set().file
    array = np.load(file)
    if change == "nan":
        array[4, 2] = np.nan
    elif change == "width":
        array = array[:, :-1]
    else:
        array[4, 2] += 1
    np.save(file, array)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("nan", "row 4 holds a number that is not finite"),
        ("width", "has shape"),
        ("one", "changed"),
    ],
)
def test_bad_features_are_refused_before_anything_is_written(
    tmp_path: Path, change: str, says: str
) -> None:
    settings = quick_settings(tmp_path / "data")
    rewrite_features(tmp_path / "data", change)
    with pytest.raises(InputError, match=says):
        finetune(settings, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_no_features_and_unknown_features(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data")
    with pytest.raises(InputError, match="no text features of encoder 'minilm'"):
        finetune(settings.model_copy(update={"encoder": "minilm"}), tmp_path / "run")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    manifest["features"] = {}
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="has no text features") as caught:
        finetune(settings.model_copy(update={"encoder": ""}), tmp_path / "run")
    assert "miracle encode" in (caught.value.remedy or "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lengths", [[2, 2], [3, 3], [1, 7, 0]])
def test_users_without_enough_interactions(tmp_path: Path, lengths: list[int]) -> None:
    """Two items per user: no validation. Three: no training. One long user is enough."""
    shop = tmp_path / "shop"
    quick_settings(shop)
    full = Dataset.open(shop)
    short = write_dataset(
        tmp_path / "short",
        name="short",
        items=full.items,
        user_ids=[f"u{i}" for i in range(len(lengths))],
        sequences=np.arange(sum(lengths), dtype=np.int32),
        offsets=np.cumsum([0, *lengths]),
        sources=[],
        settings={},
        counts={},
    )
    write_features(short.folder, full.features(), full.feature_set().encoder)
    settings = quick_settings(short.folder, train__epochs=1)
    if max(lengths) > 3:
        assert finetune(settings, tmp_path / "run")["status"] == "finished"
    else:
        with pytest.raises(InputError, match=r"no example in its (train|valid) part"):
            finetune(settings, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_folder_that_is_taken_stays_as_it_is(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path / "data", train__epochs=1)
    folder, file = tmp_path / "notes", tmp_path / "file"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    file.write_text("keep")
    for taken in (folder, file):
        with pytest.raises(InputError, match="already holds something"):
            finetune(settings, taken)
        with pytest.raises(InputError, match="is not a run folder"):
            finetune(settings, taken, overwrite=True)
    assert (folder / "mine.txt").read_text() == file.read_text() == "keep"

    finetune(settings, tmp_path / "run")
    with pytest.raises(InputError, match="already holds something"):
        finetune(settings, tmp_path / "run")
    again = settings.model_copy(update={"train": settings.train.model_copy(update={"epochs": 2})})
    assert finetune(again, tmp_path / "run", overwrite=True)["epochs"] == 2


def test_a_run_can_be_trained_again_on_its_own_data(tmp_path: Path) -> None:
    """config.toml and data/ are enough; the original Dataset may be gone."""
    first = finetune(quick_settings(tmp_path / "data", train__epochs=2), tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    own = {"data": str(tmp_path / "moved" / "data")}
    settings = load_settings(tmp_path / "moved" / "config.toml", own)
    second = finetune(settings, tmp_path / "again")
    assert same_tensors(tmp_path / "moved/model.safetensors", tmp_path / "again/model.safetensors")
    for result in (first, second):
        result.pop("seconds")
    assert first == second


def test_planted_interests_are_learned(tmp_path: Path) -> None:
    """Users keep to one kind of product, and their held-out items are of that kind, too."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(3), 8)  # gloves, filament, screws: 8 items each
    shop = tmp_path / "shop"
    quick_settings(shop)
    full = Dataset.open(shop)
    items = full.items.head(24)
    sequences = np.concatenate([rng.choice(np.flatnonzero(kinds == u % 3), 6) for u in range(60)])
    data = write_dataset(
        tmp_path / "kinds",
        name="kinds",
        items=items,
        user_ids=[f"u{u}" for u in range(60)],
        sequences=sequences.astype(np.int32),
        offsets=np.arange(61) * 6,
        sources=[],
        settings={},
        counts={},
    )
    write_features(data.folder, full.features()[:24], full.feature_set().encoder)
    settings = tiny_settings(
        data=str(data.folder),
        model__width=16,
        train__epochs=8,
        train__batch_size=32,
        train__learning_rate=0.02,
        train__metric="recall@8",
    )
    result = finetune(settings, tmp_path / "run")
    # A user's eight items fill the top eight; chance reaches a third.
    assert result["test"]["recall@8"] > 0.9


def test_evaluation_leaves_no_trace_in_training(tmp_path: Path) -> None:
    """More cut-offs or another metric change the measurements, not the training."""
    for name, metric in (("a", "recall@10"), ("b", "mrr@7")):
        settings = quick_settings(tmp_path / "data", train__epochs=2, train__metric=metric)
        finetune(settings, tmp_path / name)
    assert same_tensors(RunFolder(tmp_path / "a").state, RunFolder(tmp_path / "b").state)


def test_a_split_by_time_goes_all_the_way(tmp_path: Path) -> None:
    """Users without validation or test items are trained on but not evaluated."""
    shop = tmp_path / "shop"
    quick_settings(shop)
    full = Dataset.open(shop)
    lengths = [6, 5, 6, 4]
    ends = np.cumsum(lengths)
    cuts = np.stack([ends - [2, 1, 3, 0], ends - [1, 1, 1, 0]], axis=1)
    data = write_dataset(
        tmp_path / "timed",
        name="timed",
        items=full.items,
        user_ids=list("abcd"),
        sequences=np.arange(21, dtype=np.int32),
        offsets=np.concatenate([[0], ends]),
        sources=[],
        settings={},
        counts={},
        split="temporal",
        cuts=cuts,
        times=np.arange(21),
    )
    write_features(data.folder, full.features(), full.feature_set().encoder)
    settings = quick_settings(data.folder, train__epochs=2)
    finetune(settings, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    scorer = loaded.scorer()
    test = evaluate(scorer, loaded.dataset, "test")
    assert (test.users.tolist(), test.targets.tolist()) == ([0, 1, 2], [5, 10, 16])
    valid = evaluate(scorer, loaded.dataset, "valid")
    assert (valid.users.tolist(), valid.targets.tolist()) == ([0, 2], [4, 14])
