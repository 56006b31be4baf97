"""Pre-training: its files, exact repetition and resumption, and what it refuses."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miracle_core.config import Settings
from miracle_core.data.corpus import Corpus
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.recommender import Recommender
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import build_system, load_run
from miracle_core.runs.tensors import load_tensors
from miracle_core.systems.base import Sizes
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.training import trainer
from miracle_core.training.finetuning import finetune
from miracle_core.training.pretraining import pretrain
from tests.support.runs import other_shop, reencode
from tests.training.support import pretrain_settings, quick_settings, same_tensors
from tests.training.test_resume import assert_same_run, stop_at


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    folder = tmp_path_factory.mktemp("pretrained")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = pretrain_settings(folder)
    pretrain(settings, folder / "run")
    torch.set_num_threads(threads)
    return settings, folder / "run"


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_what_it_leaves(pretrained: tuple[Settings, Path]) -> None:
    settings, run = pretrained
    assert settings.train.epochs == 2  # the default for pre-training
    names = {path.name for path in run.iterdir()}
    assert names == {
        "config.toml", "model.safetensors", "metrics.jsonl", "result.json", "README.md",
        "checkpoints",
    }  # fmt: skip
    records = lines(run)
    assert len(records) == 2
    for record in records:
        train = record["train"]
        total = (
            train["recommendation"]
            + 10 / 32 * train["coverage"]
            + 0.01 * train["orthogonality"]
            + 0.001 * train["contrast"]
        )
        assert train["loss"] == pytest.approx(total, rel=1e-5)
        assert train["contrast"] > 0
        assert list(record["domains"]) == ["tiny", "other"]
        for name, value in record["valid"].items():
            assert value == pytest.approx(np.mean([d[name] for d in record["domains"].values()]))
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "finished"
    means = [record["valid"]["recall@10"] for record in records]
    assert result["best_epoch"] == 1 + int(np.argmax(means))
    assert result["domains"] == records[result["best_epoch"] - 1]["domains"]
    assert "test" not in result
    assert "pre-trained on tiny, other" in (run / "README.md").read_text()
    _, metadata = load_tensors(run / "model.safetensors")
    assert json.loads(metadata["origin"])["encoder"]["name"] == "hashing:32"


def test_the_weights_kept_are_those_of_the_best_epoch(pretrained: tuple[Settings, Path]) -> None:
    settings, run = pretrained
    result = json.loads((run / "result.json").read_text())
    assert len(result["domains"]) == 2
    for folder in settings.datasets:
        dataset = Dataset.open(folder)
        loaded = load_run(run, dataset)
        assert isinstance(loaded.system, Miracle)
        assert loaded.system.identity is None
        found = evaluate(loaded.scorer(), dataset, "valid")
        assert found.metrics == result["domains"][found.dataset]


def test_every_weight_learns_the_mask_vector_and_positions_too(
    pretrained: tuple[Settings, Path],
) -> None:
    settings, run = pretrained
    torch.manual_seed(settings.train.seed)
    corpus = Corpus.open(settings.datasets)
    fresh = build_system(settings, Sizes(None, corpus.encoder.width)).state_dict()
    weights, _ = load_tensors(run / "model.safetensors")
    assert fresh.keys() == weights.keys()
    for name, value in fresh.items():
        if name != "capsules.attention.score.bias":  # softmax cancels it
            assert not torch.equal(value, weights[name]), name


@pytest.mark.parametrize("rate", [0.03, 1.0])
def test_what_makes_item_vectors_of_text_learns_at_a_rate_of_its_own(
    tmp_path: Path, rate: float
) -> None:
    """Adam's first step moves every weight that has a gradient by its learning rate."""
    settings = pretrain_settings(
        tmp_path,
        pretrain__encoder_rate=rate,
        train__epochs=1,
        train__batch_size=100_000,
        train__average=0.0,
    )
    torch.manual_seed(settings.train.seed)
    corpus = Corpus.open(settings.datasets)
    fresh = build_system(settings, Sizes(None, corpus.encoder.width)).state_dict()
    pretrain(settings, tmp_path / "run")
    weights, _ = load_tensors(tmp_path / "run" / "model.safetensors")
    lr = settings.train.learning_rate
    for part, expected in (("adaptor.", rate), ("context.", rate), ("capsules.", 1), ("mask", 1)):
        moved = max((weights[n] - fresh[n]).abs().max() for n in fresh if n.startswith(part))
        assert float(moved) == pytest.approx(lr * expected, rel=0.01), part


@pytest.mark.parametrize("changes", [{}, {"pretrain__mix_temperature": 0.3}])
@pytest.mark.parametrize("seed", range(2))
def test_stopped_at_random_steps_it_ends_with_the_same_weights(
    tmp_path: Path, changes: dict[str, Any], seed: int
) -> None:
    settings = pretrain_settings(tmp_path, **changes)
    pretrain(settings, tmp_path / "whole")
    rng = random.Random(seed)
    run = tmp_path / "run"
    result = pretrain(settings, run, should_stop=stop_at(rng.randint(1, 9)))
    assert result["status"] == "interrupted"
    while result["status"] == "interrupted":
        torch.manual_seed(rng.randrange(1000))
        result = pretrain(settings, run, resume=True, should_stop=stop_at(rng.randint(1, 9)))
    assert_same_run(run, tmp_path / "whole")


def test_killed_before_its_validation_is_written(
    pretrained: tuple[Settings, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, whole = pretrained
    run = tmp_path / "run"
    pretrain(settings, run, should_stop=stop_at(3))

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Training, "save", die)
        with pytest.raises(KeyboardInterrupt):
            pretrain(settings, run, resume=True)
    pretrain(settings, run, resume=True)
    assert_same_run(run, whole)


@pytest.mark.parametrize("change", [{"pretrain__mix_temperature": 0.0}, {"pretrain__log_q": False}])
def test_mix_and_correction_are_part_of_the_settings(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    for name, changes in (("a", {}), ("b", change)):
        pretrain(pretrain_settings(tmp_path / "data", train__epochs=1, **changes), tmp_path / name)
    assert not same_tensors(tmp_path / "a/model.safetensors", tmp_path / "b/model.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"model__contrast": 0.0},
        {"model__positional": False},
        {"model__sparse": False, "model__capsules": 4},
        {"model__mask_probability": 0.0},
    ],
)
def test_ablations_train(tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = pretrain_settings(tmp_path, train__epochs=1, **changes)
    pretrain(settings, tmp_path / "run")
    record = lines(tmp_path / "run")[0]
    assert ("contrast" in record["train"]) == ("model__contrast" not in changes)
    if "model__mask_probability" in changes:
        assert record["train"]["contrast"] == 0.0
    if "model__sparse" in changes:
        assert record["figures"] == {"capsules_in_use": 4, "capsules_per_user": 4.0}
    assert np.isfinite(record["train"]["loss"])
    dataset = Dataset.open(settings.datasets[1])
    assert load_run(tmp_path / "run", dataset).dataset.name == "other"


def test_zero_shot(pretrained: tuple[Settings, Path], tmp_path: Path) -> None:
    settings, run = pretrained
    third = other_shop(tmp_path / "third", items=25, name="third")
    found = evaluate_run(run, third.folder)
    assert found.zero_shot and found.run.origin.names == "tiny, other"
    assert found.summary()["references"].keys() == {"text", "popularity", "chance"}
    assert not evaluate_run(run, settings.datasets[0]).zero_shot
    renamed = reencode(third, name="mine")
    assert evaluate_run(run, renamed.folder).found.metrics == found.found.metrics
    other = reencode(renamed, name="bert", width=31)
    with pytest.raises(InputError, match=r"encoder 'bert' .*, the run reads those of 'hashing:32'"):
        evaluate_run(run, other.folder)


def test_a_pretrained_run_has_no_data_of_its_own(pretrained: tuple[Settings, Path]) -> None:
    _, run = pretrained
    for use in (load_run, evaluate_run, Recommender.load):
        with pytest.raises(InputError, match="pre-trained run") as caught:
            use(run)
        assert "--data DATA" in (caught.value.remedy or "")


def test_before_the_first_validation_the_checkpoint_is_evaluated(tmp_path: Path) -> None:
    settings = pretrain_settings(tmp_path)
    pretrain(settings, tmp_path / "run", should_stop=stop_at(2))
    assert evaluate_run(tmp_path / "run", settings.datasets[0]).run.weights_from == "last"


def test_a_weights_file_that_does_not_say_where_it_is_from(
    pretrained: tuple[Settings, Path], tmp_path: Path
) -> None:
    from miracle_core.runs.tensors import save_tensors

    settings, run = pretrained
    weights, _ = load_tensors(run / "model.safetensors")
    folder = RunFolder(tmp_path / "run")
    folder.create(settings, None, overwrite=False)
    save_tensors(folder.weights, weights, {})
    with pytest.raises(InputError, match="does not say what its weights were learned from"):
        evaluate_run(folder.path, settings.datasets[0])


def test_changed_data_is_noticed_when_resuming(tmp_path: Path) -> None:
    settings = pretrain_settings(tmp_path)
    pretrain(settings, tmp_path / "run", should_stop=stop_at(2))
    other_shop(tmp_path / "b", users=12)
    with pytest.raises(InputError, match="data has changed since its checkpoint") as caught:
        pretrain(settings, tmp_path / "run", resume=True)
    assert str(tmp_path / "b") in (caught.value.where or "")


def test_what_is_refused(tmp_path: Path) -> None:
    settings = pretrain_settings(tmp_path / "data")
    twice = settings.model_copy(update={"datasets": [settings.datasets[0]] * 2})
    with pytest.raises(InputError, match="is the same Dataset"):
        pretrain(twice, tmp_path / "run")
    with pytest.raises(InputError, match="not pre-training settings"):
        pretrain(quick_settings(tmp_path / "data" / "a"), tmp_path / "run")
    with pytest.raises(InputError, match="settings of a pre-training"):
        finetune(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()
