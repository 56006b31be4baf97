"""Settings: layers, TOML in and out, and what is said of a bad one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from miracle_core.config import (
    Settings,
    dump_settings,
    load_settings,
    make_settings,
    nested,
    setting_names,
)
from miracle_core.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_pre_training_has_its_preset_s_method() -> None:
    ours = make_settings({"datasets": ["a"]})
    assert (ours.pretrain.log_q, ours.train.epochs, ours.train.batch_size) == (True, 2, 2048)
    for preset in ("paper", "reference"):
        theirs = make_settings({"datasets": ["a"], "preset": preset})
        assert (theirs.pretrain.log_q, theirs.pretrain.encoder_rate) == (False, 1.0)
        assert (theirs.train.epochs, theirs.train.batch_size) == (3, 2048)


def test_flags_beat_the_file_and_the_file_beats_the_preset(tmp_path: Path) -> None:
    file = write(
        tmp_path / "c.toml",
        'preset = "reference"\n[model]\nwidth = 64\n[train]\nepochs = 7\nseed = 5\n',
    )
    found = load_settings(file, nested({"train.epochs": 3}))
    assert (found.train.epochs, found.train.seed, found.model.width) == (3, 5, 64)
    assert found.model.agreement == "q"  # the preset's
    assert found.model.capsules == Settings().model.capsules  # nobody's
    assert load_settings(file, nested({"model.agreement": "h"})).model.agreement == "h"
    assert load_settings(file, {"preset": "paper"}).model.agreement == "h"


def test_toml_out_and_in_is_the_same(tmp_path: Path) -> None:
    settings = make_settings(
        nested({"data": 'a "b" \\ c', "train.learning_rate": 1 / 3, "model.score": "cosine"})
    )
    text = dump_settings(settings)
    assert load_settings(write(tmp_path / "c.toml", text)) == settings
    # Complete: nothing is left to a default that may change.
    values = tomllib.loads(text)
    for name in setting_names():
        place: Any = values
        for part in name.split("."):
            place = place[part]


def test_a_run_from_before_the_choice_of_kernels_loads(tmp_path: Path) -> None:
    text = dump_settings(Settings())
    older = text.replace('kernels = "torch"\n', "")
    assert older != text
    assert load_settings(write(tmp_path / "c.toml", older)) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "place", "says"),
    [
        ("model.widht", 64, "model.widht", "did you mean model.width?"),
        ("width", 64, "width", "did you mean model.width?"),
        ("train.epoch", 3, "train.epoch", "did you mean train.epochs?"),
        ("modl.width", 64, "modl", "did you mean model?"),
        ("train.zzz", 1, "train.zzz", "known here: mode, epochs"),
        ("preset", "papr", "preset", "choose one of default, paper, reference"),
        ("model.width", 7, "model", "width 7 is not a multiple of heads 2"),
        ("model.width", 0, "model.width", "greater than or equal to 1"),
        ("model.width", "64", "model.width", "valid integer"),
        ("train.epochs", True, "train.epochs", "valid integer"),
        ("model.gate_noise", 1, "model.gate_noise", "valid boolean"),
        ("train.learning_rate", float("nan"), "train.learning_rate", "finite"),
        ("train.learning_rate", float("inf"), "train.learning_rate", "finite"),
        ("train.seed", 2**63, "train.seed", "less than"),
        ("train.mode", "both", "train.mode", "'transductive' or 'inductive'"),
        ("train.kernels", "cuda", "train.kernels", "'torch' or 'triton'"),
        ("train.metric", "recall", "train.metric", "recall@K"),
        ("train.metric", "recall@0", "train.metric", "recall@K"),
        ("train.metric", "recall@²", "train.metric", "recall@K"),
        ("train", 3, "train", "a section of settings"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: Any, place: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        make_settings(nested({name: value}), where="here")
    assert caught.value.where == f"here: {place}"
    assert says in str(caught.value)


def test_what_is_wrong_in_an_option_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", "[train]\nepochs = 7\n")
    with pytest.raises(InputError, match=r"^options: train\.epochs: "):
        load_settings(file, nested({"train.epochs": 0}))
    bad = write(tmp_path / "bad.toml", "[train]\nepoch = 7\n")
    with pytest.raises(InputError) as caught:
        load_settings(bad, nested({"train.epochs": 1}))
    assert caught.value.where == f"{bad}: train.epoch"


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"epochs = ", "not valid TOML"), (b'data = "\xff"', "not UTF-8"), (None, "can't be read")],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "c.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        load_settings(file)
    assert caught.value.where == str(file)


def test_a_name_can_not_be_setting_and_section() -> None:
    with pytest.raises(InputError, match="given a value and settings"):
        nested({"model": 3, "model.width": 4})


def test_one_metric_has_one_name() -> None:
    settings = make_settings(nested({"train.metric": "ndcg@005"}))
    assert (settings.train.metric, settings.metric_k) == ("ndcg@5", 5)
