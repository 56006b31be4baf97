"""Settings: their layers, reading and writing TOML, and messages for bad settings."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from miracle_core import registry
from miracle_core.config import (
    dump_settings,
    flat,
    load_settings,
    make_settings,
    nested,
    setting_names,
    settings_class,
    with_defaults,
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


def test_settings_of_before_one_was_there() -> None:
    starts: list[dict[str, Any]] = [{"data": "a"}, {"data": "a", "pretrained": "b"}]
    for spec in registry.systems():
        pretrained = "pretrain" in spec.stages
        for preset in spec.settings_class().PRESETS:
            for start in [*starts, {"datasets": ["a"]}] if pretrained else starts[:1]:
                settings = make_settings({"preset": preset, "model": {"kind": spec.name}, **start})
                today = flat(settings.model_dump(mode="json"))
                kept = {k: today[k] for k in ("preset", "model.kind", *start)}
                assert with_defaults(kept, today, settings) == today
                assert with_defaults(today | {"x": 1}, today, settings) == today | {"x": 1}
    settings = make_settings({"train": {"epochs": 7}})
    kept = {"preset": "default", "model.kind": "miracle"}
    found = with_defaults(kept, ["train.epochs", "train.new"], settings)
    assert found == kept | {"train.epochs": 100}
    assert with_defaults({"model.kind": "sasrec"}, ["train.epochs"], settings) == {
        "model.kind": "sasrec"
    }


def test_flags_beat_the_file_and_the_file_beats_the_preset(tmp_path: Path) -> None:
    file = write(
        tmp_path / "c.toml",
        'preset = "reference"\n[model]\nwidth = 64\n[train]\nepochs = 7\nseed = 5\n',
    )
    found = load_settings(file, nested({"train.epochs": 3}))
    assert (found.train.epochs, found.train.seed, found.model.width) == (3, 5, 64)
    assert found.model.agreement == "q"  # from the preset
    assert found.model.capsules == settings_class()().model.capsules  # set by nobody
    assert load_settings(file, nested({"model.agreement": "h"})).model.agreement == "h"
    assert load_settings(file, {"preset": "paper"}).model.agreement == "h"


def test_toml_out_and_in_is_the_same(tmp_path: Path) -> None:
    settings = make_settings(
        nested({"data": 'a "b" \\ c', "train.learning_rate": 1 / 3, "model.score": "cosine"})
    )
    text = dump_settings(settings)
    # Paths in a file are relative to the file.
    there = settings.model_copy(update={"data": str(tmp_path / settings.data)})
    assert load_settings(write(tmp_path / "c.toml", text)) == there
    # The file is complete: no setting relies on a default that may change.
    values = tomllib.loads(text)
    for name in setting_names(settings_class()):
        place: Any = values
        for part in name.split("."):
            place = place[part]


OLDER = """
data = "shop"
[model]
width = 64
repeat = false
[loss]
coverage = 0.5
orthogonality = 0.25
contrast = 0.125
[pretrain]
mask_probability = 0.4
mask_min_length = 7
log_q = false
[train]
kernels = "torch"
compile = false
"""


def test_a_file_of_an_older_version_loads(tmp_path: Path) -> None:
    found = load_settings(write(tmp_path / "c.toml", OLDER))
    model = found.model.model_dump()
    assert found.seen == "as-printed"
    assert (model["width"], model["kind"]) == (64, "miracle")
    assert (model["coverage"], model["orthogonality"], model["contrast"]) == (0.5, 0.25, 0.125)
    assert (model["mask_probability"], model["mask_min_length"]) == (0.4, 7)
    # Written again, it has the current format and the same content.
    assert load_settings(write(tmp_path / "d.toml", dump_settings(found))) == found


def test_an_option_in_its_old_name_is_taken() -> None:
    found = make_settings({"model": {"width": 64}}, nested({"loss.coverage": 0.5}))
    assert found.model.model_dump()["coverage"] == 0.5
    gain = make_settings({"seen": "as-printed"}, nested({"model.repeat": True}))
    assert gain.seen == "gain"


@pytest.mark.parametrize(
    ("values", "place", "says"),
    [
        (
            {"model": {"coverage": 1.0}, "loss": {"coverage": 2.0}},
            "loss.coverage",
            "given as model.coverage too",
        ),
        (
            {"model": {"mask_min_length": 3}, "pretrain": {"mask_min_length": 3}},
            "pretrain.mask_min_length",
            "given as model.mask_min_length too",
        ),
        ({"model": {"repeat": False}, "seen": "gain"}, "model.repeat", "given as seen too"),
        ({"loss": {"coverag": 1.0}}, "loss.coverag", "there is no setting 'coverag'"),
        ({"loss": 3}, "loss", "a section of settings"),
        ({"loss": {"coverage": 1.0}, "model": 3}, "model", "a section of settings"),
        ({"pretrain": {"mask_probability": 0.2}, "model": "m"}, "model", "a section of settings"),
    ],
)
def test_old_names_that_do_not_fit_are_refused(
    values: dict[str, Any], place: str, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        make_settings(values, where="here")
    assert caught.value.where == f"here: {place}"


def test_the_values_handed_in_are_left_as_they_are() -> None:
    values = {"loss": {"coverage": 0.5}, "model": {"repeat": False}, "train": {"compile": False}}
    before = copy.deepcopy(values)
    make_settings(values)
    assert values == before


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model": {"kind": "popularity", "width": 3}}, "there is no setting 'width'"),
        ({"model": {"kind": "popularity"}, "loss": {"coverage": 1.0}}, "no setting 'coverage'"),
        ({"model": {"kind": "popularity", "repeat": False}}, "there is no setting 'repeat'"),
        ({"model": {"kind": "popularity"}, "seen": "gain"}, "learns no gain"),
        ({"model": {"kind": "popularity"}, "train": {"mode": "inductive"}}, "not inductive"),
        ({"model": {"kind": "textknn"}, "train": {"mode": "transductive"}}, "not transductive"),
        ({"model": {"kind": "popularity"}, "preset": "paper"}, "there is no preset 'paper'"),
        ({"model": {"kind": "random"}, "pretrained": "run"}, "can't be pre-trained"),
    ],
)
def test_what_a_system_can_not_do_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_settings(values)


@pytest.mark.parametrize(
    ("name", "value", "place", "says"),
    [
        ("model.widht", 64, "model.widht", "did you mean model.width?"),
        ("width", 64, "width", "did you mean model.width?"),
        ("train.epoch", 3, "train.epoch", "did you mean train.epochs?"),
        ("modl.width", 64, "modl", "did you mean model?"),
        ("train.zzz", 1, "train.zzz", "known here: mode, epochs"),
        ("preset", "papr", "preset", "choose one of default, paper, reference"),
        ("preset", ["paper"], "preset", "there is no preset ['paper']"),
        ("model.width", 7, "model", "width 7 is not a multiple of heads 2"),
        ("model.width", 0, "model.width", "must be at least 1"),
        ("model.width", "64", "model.width", "must be a whole number"),
        ("train.epochs", True, "train.epochs", "must be a whole number"),
        ("model.gate_noise", 1, "model.gate_noise", "must be true or false"),
        ("train.learning_rate", float("nan"), "train.learning_rate", "finite"),
        ("train.learning_rate", float("inf"), "train.learning_rate", "finite"),
        ("train.seed", 2**63, "train.seed", "must be below"),
        ("train.mode", "both", "train.mode", "'transductive' or 'inductive'"),
        ("train.kernels", "triton", "train.kernels", "are gone"),
        ("train.compile", True, "train.compile", "is gone"),
        ("model.kind", "mirracle", "model.kind", "did you mean miracle?"),
        ("model.kind", "transformer", "model.kind", "known: "),
        ("model.kind", 3, "model.kind", "3 is not a name"),
        ("model.repeat", 1, "model.repeat", "there is no setting 'repeat'"),
        ("seen", "never", "seen", "'as-printed', 'leave-out' or 'gain'"),
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
