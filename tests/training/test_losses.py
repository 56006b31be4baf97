"""The loss setting: its values, what it refuses, and that every loss trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from miracle_core.config import dump_settings, load_settings, make_settings
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.errors import InputError
from miracle_core.runs.opening import load_run
from miracle_core.systems.miracle.settings import MiracleSettings
from miracle_core.training.finetuning import finetune
from tests.data.test_filters import interactions
from tests.support.runs import TITLES
from tests.training.support import quick_settings
from tests.training.test_unsold import ROWS

MOST = len(TITLES) - 1


def test_old_weights_of_losses_and_the_new_section_are_told_apart(tmp_path: Path) -> None:
    text = '[loss]\ncoverage = 0.5\nrecommendation = "bce"\nnegatives = 3\n'
    (tmp_path / "c.toml").write_text(text)
    found = load_settings(tmp_path / "c.toml")
    assert isinstance(found.model, MiracleSettings)
    assert found.model.coverage == 0.5
    assert (found.loss.recommendation, found.loss.negatives) == ("bce", 3)
    (tmp_path / "again.toml").write_text(dump_settings(found))
    assert load_settings(tmp_path / "again.toml") == found


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ({"recommendation": "bcee"}, "loss.recommendation: "),
        ({"negatives": 0}, "loss.negatives: "),
        ({"calibration": 1.5}, "loss.calibration: "),
        ({"negative": 3}, "did you mean loss.negatives"),
    ],
)
def test_a_bad_setting_is_named(loss: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_settings({"loss": loss})


def test_pre_training_has_its_own_negatives() -> None:
    with pytest.raises(InputError, match="compares with the batch's own items"):
        make_settings(
            {
                "datasets": ["a"],
                "loss": {"recommendation": "bce"},
                "train": {"mode": "inductive"},
            }
        )


def test_more_negatives_than_items_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    settings = quick_settings(
        tmp_path / "data", loss__recommendation="gbce", loss__negatives=MOST + 1
    )
    with pytest.raises(InputError, match=f"{MOST + 1} negatives are more than the {MOST} items"):
        finetune(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_items_that_do_not_compete_are_no_negatives(tmp_path: Path) -> None:
    """Eight items, four of them sold: each target has three possible negatives."""
    data = tmp_path / "data"
    prepare(interactions(ROWS), PrepareSettings(k_core=0, keep_unsold=True), data)
    assert json.loads((data / "manifest.json").read_text())["counts"]["items"] == 8
    base = {"data": str(data), "model": {"kind": "gru4rec", "width": 4, "hidden": 4}}
    many, few = (
        make_settings(
            base,
            {"loss": {"recommendation": "bpr", "negatives": n}, "train": {"epochs": 1}},
        )
        for n in (4, 3)
    )
    with pytest.raises(InputError, match="4 negatives are more than the 3 items"):
        finetune(many, tmp_path / "many")
    assert finetune(few, tmp_path / "few")["status"] == "finished"


@pytest.mark.parametrize(
    "loss", ["bpr", "bpr-max", "top1", "top1-max", "bce", "gbce", "sampled-softmax"]
)
def test_every_loss_trains_several_interests(tmp_path: Path, loss: str) -> None:
    settings = quick_settings(
        tmp_path / "data", loss__recommendation=loss, loss__negatives=MOST, train__epochs=3
    )
    finetune(settings, tmp_path / "run")
    trained = load_run(tmp_path / "run")
    assert trained.system.loss.recommendation == loss
    losses = [record["train"]["recommendation"] for record in trained.folder.history()]
    assert losses[-1] < losses[0]


def test_a_resumed_run_draws_the_same(tmp_path: Path) -> None:
    """A stopped and resumed run ends like one that was not stopped."""
    settings = quick_settings(
        tmp_path / "data", loss__recommendation="bce", loss__negatives=4, train__epochs=3
    )
    finetune(settings, tmp_path / "whole")
    asked = iter(range(1, 100))
    finetune(settings, tmp_path / "run", should_stop=lambda: next(asked) == 4)
    finetune(settings, tmp_path / "run", resume=True)
    one, other = load_run(tmp_path / "whole").system, load_run(tmp_path / "run").system
    assert all((a == b).all() for a, b in zip(one.parameters(), other.parameters(), strict=True))
