"""The data that a run can be evaluated on, and the references beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from miracle_core.data.dataset import EncoderIdentity
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.evaluation.references import Reference, references
from miracle_core.runs.opening import item_side, load_run
from tests.support.runs import ENCODER, other_shop, reencode, tiny_run
from tests.support.scorers import fitted


def metrics_of(found: dict[str, Reference]) -> dict[str, dict[str, float]]:
    return {name: other.metrics for name, other in found.items()}


def test_the_runs_own_data_by_default(small_run: Path) -> None:
    found = evaluate_run(small_run)
    summary = found.summary()
    assert summary.keys() >= {"dataset", "split", "users", "items", "metrics", "seconds"}
    assert (summary["dataset"], summary["split"]) == ("tiny", "test")
    assert (summary["users"], summary["items"]) == (11, 30)
    assert summary["active_capsules"]["mean"] == found.found.active.mean()
    assert not summary["zero_shot"]
    loaded = load_run(small_run)
    direct = evaluate(loaded.scorer(), loaded.dataset)
    assert summary["metrics"] == direct.metrics
    assert summary["references"] == metrics_of(references(loaded.dataset))


def test_the_validation_split(small_run: Path) -> None:
    found = evaluate_run(small_run, split="valid")
    ends = found.dataset.offsets[found.found.users + 1]
    assert np.array_equal(found.found.targets, found.dataset.sequences[ends - 2])
    assert found.summary()["split"] == "valid"


def test_the_same_data_elsewhere(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    own, same = evaluate_run(run), evaluate_run(run, tmp_path / "data")
    assert not same.zero_shot
    assert same.found.metrics == own.found.metrics


def test_zero_shot_on_another_catalogue(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, train__mode="inductive")
    other = other_shop(tmp_path / "other")
    found = evaluate_run(run, other.folder)
    summary = found.summary()
    assert (summary["dataset"], summary["users"], summary["items"]) == ("other", 9, 20)
    assert summary["zero_shot"]
    # By hand: apply the same weights to the other items' texts.
    model = load_run(run).system
    scorer = model.scorer(item_side(model, found.run.spec, other, None))
    assert summary["metrics"] == evaluate(scorer, other).metrics
    neighbours = fitted("textknn", other, max_length=scorer.max_length)
    text = evaluate(neighbours, other, leave_out=True).metrics
    assert summary["references"] == {"text": text, **metrics_of(references(other))}


def test_a_transductive_run_is_refused_another_catalogue(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    for items in (20, 30):  # a catalogue of another size or of the same size
        other = other_shop(tmp_path / f"other{items}", items=items)
        if items == 30:
            table = other.items.with_columns(title=other.items["title"].reverse())
            other = write_dataset(
                tmp_path / "renamed",
                name="renamed",
                items=table,
                user_ids=other.users["user_id"].to_list(),
                sequences=np.asarray(other.sequences),
                offsets=np.asarray(other.offsets),
                sources=[],
                settings={},
                counts={},
            )
        with pytest.raises(InputError, match=r"transductive.*'tiny'.*another catalogue"):
            evaluate_run(run, other.folder)


def test_new_users_of_the_same_catalogue_are_no_other_catalogue(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    found = evaluate_run(run, other_shop(tmp_path / "users", items=30).folder)
    assert not found.zero_shot
    assert len(found.found.users) == 9


@pytest.mark.parametrize(
    "changes", [{"revision": "f" * 64}, {"pooling": "cls"}, {"width": 31}, {"max_length": 8}]
)
def test_features_of_another_encoder(tmp_path: Path, changes: dict[str, object]) -> None:
    run = tiny_run(tmp_path, train__mode="inductive")
    other = reencode(other_shop(tmp_path / "other"), name="bert", **changes)
    with pytest.raises(InputError, match=r"encoder 'bert' .*, the run reads those of 'hashing:32'"):
        evaluate_run(run, other.folder)
    # This also holds if the encoder has the same name.
    other = reencode(other, name=ENCODER)
    with pytest.raises(InputError, match=r"of encoder 'hashing:32' .* those of 'hashing:32'"):
        evaluate_run(run, other.folder)


def test_one_encoder_under_two_names(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, train__mode="inductive")
    other = other_shop(tmp_path / "other")
    metrics = evaluate_run(run, other.folder).found.metrics
    renamed = reencode(other, name="mine")
    assert evaluate_run(run, renamed.folder).found.metrics == metrics
    assert evaluate_run(run, renamed.folder, encoder="mine").found.metrics == metrics
    with pytest.raises(InputError, match="no text features of encoder 'minilm'"):
        evaluate_run(run, renamed.folder, encoder="minilm")


def test_the_runs_own_features_are_found_among_several(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, train__mode="inductive")
    other = other_shop(tmp_path / "other")
    metrics = evaluate_run(run, other.folder).found.metrics
    identity = EncoderIdentity(name="wide", revision="1", pooling="cls", max_length=9, width=3)
    write_features(other.folder, np.ones((20, 3), dtype=np.float32), identity)
    assert evaluate_run(run, other.folder).found.metrics == metrics
    with pytest.raises(InputError, match="of encoder 'wide'"):
        evaluate_run(run, other.folder, encoder="wide")


def test_an_encoder_for_the_runs_own_data(small_run: Path) -> None:
    with pytest.raises(InputError, match="leave it out"):
        evaluate_run(small_run, encoder="minilm")


def test_damaged_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        evaluate_run(tmp_path)
    run = tiny_run(tmp_path)
    weights = run / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(InputError, match="can't be read as safetensors"):
        evaluate_run(run)
    weights.write_bytes(whole)
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace("capsules = 7", "capsules = 6"))
    with pytest.raises(InputError, match=r"'capsules\.base' has shape \(7, 8\)"):
        evaluate_run(run)
    (run / "config.toml").write_text(config)
    data = tmp_path / "data"
    items = data / "items.parquet"
    kept = items.read_bytes()
    items.unlink()
    items.write_bytes(kept + b" ")
    with pytest.raises(InputError, match="has changed"):
        evaluate_run(run, data)
    evaluate_run(run)  # the run's own copy is intact


def test_evaluation_draws_no_random_numbers(small_run: Path) -> None:
    """Otherwise the epochs after a validation would depend on it."""
    loaded = load_run(small_run)
    before = torch.get_rng_state()
    evaluate(loaded.scorer(), loaded.dataset, keep_top=5)
    assert torch.equal(torch.get_rng_state(), before)
