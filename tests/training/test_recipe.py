"""Recipes: stages in one folder, their allowed order, and resuming the whole folder."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from miracle_core.config import Settings, load_settings
from miracle_core.errors import InputError
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.looks import read_looks
from miracle_core.training.finetuning import finetune
from miracle_core.training.pretraining import pretrain
from miracle_core.training.recipe import Kind, read_recipe
from miracle_core.training.stages import run_recipe
from tests.support.runs import ENCODER, SMALL_MODEL, other_shop, tiny_shop
from tests.training.support import same_tensors
from tests.training.test_resume import stop_at

MODEL = {name.removeprefix("model."): value for name, value in SMALL_MODEL.items()}
QUICK = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01}
PRETRAIN = {"kind": "pretrain", "datasets": ["data/a", "data/b"]}
FINETUNE = {"kind": "finetune", "data": "data/a"}
EVALUATE = {"kind": "evaluate"}
SHARED = {"encoder": ENCODER, "model": {**MODEL, "mask_min_length": 3}, "train": QUICK}


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops")
    tiny_shop(folder / "data" / "a")
    other_shop(folder / "data" / "b")
    return folder


def write(folder: Path, *stages: Any, name: str = "recipe.toml", **shared: Any) -> Path:
    path = folder / name
    path.write_text(tomli_w.dumps({**SHARED, **shared, "stage": list(stages)}))
    return path


def test_three_stages_leave_one_folder(shops: Path, tmp_path: Path) -> None:
    evaluate = {**EVALUATE, "split": "valid", "k": [5], "seen": "leave-out"}
    recipe = write(shops, PRETRAIN, {**FINETUNE, "train": {"seed": 9}}, evaluate)
    out = tmp_path / "out"
    result = run_recipe(recipe, out)
    names = {path.name for path in out.iterdir()}
    stages = ["1-pretrain", "2-finetune", "3-evaluate"]
    assert names == {*stages, "recipe.toml", "result.json"}
    assert json.loads((out / "result.json").read_text()) == result
    assert result["status"] == "finished"
    assert [stage["folder"] for stage in result["stages"]] == stages
    tuned = load_settings(out / "2-finetune" / "config.toml")
    assert tuned.pretrained == str(out / "1-pretrain")
    assert (tuned.train.seed, tuned.train.epochs) == (9, 2)
    transfer = RunFolder(out / "2-finetune").read_transfer()
    assert transfer is not None and transfer["loaded"]
    own = RunFolder(out / "1-pretrain").read_result()
    assert {**result["stages"][0], **(own or {})} == result["stages"][0]
    found = result["stages"][2]
    assert (found["run"], found["split"], found["seen"]) == ("2-finetune", "valid", "leave-out")
    assert found["metrics"].keys() == {"recall@5", "ndcg@5", "mrr@5"}
    # Paths are relative to the recipe, wherever the program was started.
    assert tuned.data == str(shops / "data" / "a")


def test_a_recipe_is_the_commands_it_stands_for(shops: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_recipe(write(shops, PRETRAIN, FINETUNE), out)
    pretrain(load_settings(out / "1-pretrain" / "config.toml"), tmp_path / "pre")
    settings = load_settings(out / "2-finetune" / "config.toml")
    assert settings.train.freeze  # as with --from
    settings = settings.model_copy(update={"pretrained": str(tmp_path / "pre")})
    finetune(settings, tmp_path / "tuned")
    weights = "model.safetensors"
    assert same_tensors(tmp_path / "pre" / weights, out / "1-pretrain" / weights)
    assert same_tensors(tmp_path / "tuned" / weights, out / "2-finetune" / weights)


def stopping(kind: Kind, step: int, done: list[tuple[Kind, bool]]) -> Callable[..., dict[str, Any]]:
    """Train, and stop one kind of stage at a step."""

    def train(own: Kind, settings: Settings, path: Path, go_on: bool) -> dict[str, Any]:
        done.append((own, go_on))
        stop = stop_at(*([step] if own == kind else []))
        function = pretrain if own == "pretrain" else finetune
        return function(settings, path, resume=go_on, should_stop=stop)

    return train


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_a_recipe_goes_on_where_it_was_cut_off(shops: Path, tmp_path: Path, kind: Kind) -> None:
    recipe = write(shops, PRETRAIN, FINETUNE, EVALUATE)
    whole = run_recipe(recipe, tmp_path / "whole")
    out = tmp_path / "out"
    done: list[tuple[Kind, bool]] = []
    cut = run_recipe(recipe, out, train=stopping(kind, 3, done))
    assert cut["status"] == cut["stages"][-1]["status"] == "interrupted"
    assert cut["stages"][-1]["kind"] == kind
    done.clear()
    result = run_recipe(out / "recipe.toml", out, resume=True, train=stopping(kind, 0, done))
    later: list[tuple[Kind, bool]] = [("finetune", False)]
    assert done == ([(kind, True), *later] if kind == "pretrain" else [(kind, True)])
    for ours, theirs in zip(result["stages"], whole["stages"], strict=True):
        assert ours.get("test") == theirs.get("test")
        assert ours.get("metrics") == theirs.get("metrics")
    weights = "2-finetune/model.safetensors"
    assert same_tensors(tmp_path / "whole" / weights, out / weights)
    # If all stages are done, nothing is repeated.
    done.clear()
    assert run_recipe(recipe, out, resume=True, train=stopping(kind, 0, done)) == result
    assert not done


def test_a_recipe_that_is_moved_goes_on(shops: Path, tmp_path: Path) -> None:
    """The folder contains no absolute paths, so it can move with its data."""
    before = tmp_path / "before"
    shutil.copytree(shops / "data", before / "data")
    recipe = write(before, PRETRAIN, FINETUNE)
    done: list[tuple[Kind, bool]] = []
    run_recipe(recipe, before / "out", train=stopping("finetune", 3, done))
    assert str(tmp_path) not in (before / "out" / "recipe.toml").read_text()
    before.rename(tmp_path / "after")
    out = tmp_path / "after" / "out"
    result = run_recipe(out / "recipe.toml", str(out), resume=True)
    assert result["status"] == "finished"
    whole = run_recipe(tmp_path / "after" / "recipe.toml", tmp_path / "whole")
    assert whole["status"] == "finished"
    weights = "2-finetune/model.safetensors"
    assert same_tensors(tmp_path / "whole" / weights, out / weights)


def test_a_second_recipe_in_a_folder_is_refused(shops: Path, tmp_path: Path) -> None:
    recipe, out = write(shops, FINETUNE), tmp_path / "out"
    refused: list[str] = []

    def again(**how: bool) -> None:
        try:
            run_recipe(recipe, out, **how)
        except InputError as error:
            refused.append(error.what)

    def train(kind: Kind, settings: Settings, path: Path, go_on: bool) -> dict[str, Any]:
        for how in ({"resume": True}, {"overwrite": True}):
            thread = threading.Thread(target=again, kwargs=how)
            thread.start()
            thread.join()
        return finetune(settings, path)

    assert run_recipe(recipe, out, train=train)["status"] == "finished"
    assert len(refused) == 2
    assert all("is writing here" in what for what in refused)


def test_a_stage_that_was_lost_is_done_again(shops: Path, tmp_path: Path) -> None:
    popularity = {"model": {"kind": "popularity"}, "encoder": ""}
    recipe = write(shops, FINETUNE, EVALUATE, **popularity, train={}, seen="as-printed")
    out = tmp_path / "out"
    first = run_recipe(recipe, out)
    (out / "2-evaluate" / "result.json").unlink()
    again = run_recipe(recipe, out, resume=True)
    assert again["stages"][0] == first["stages"][0]
    assert again["stages"][1]["metrics"] == first["stages"][1]["metrics"]
    assert (out / "2-evaluate" / "result.json").is_file()


def test_each_fine_tuning_starts_from_the_pre_training(shops: Path, tmp_path: Path) -> None:
    width = {**MODEL, "mask_min_length": 3, "width": 16}
    recipe = write(shops, {**PRETRAIN, "model": width}, FINETUNE, {**FINETUNE, "data": "data/b"})
    stages = read_recipe(recipe, tmp_path).stages
    assert [stage.folder for stage in stages] == ["1-pretrain", "2-finetune", "3-finetune"]
    for stage in stages[1:]:
        assert stage.settings is not None
        assert stage.settings.pretrained == str(tmp_path / "1-pretrain")
        # It keeps the pre-trained network, even if a shared setting says otherwise.
        assert stage.settings.model.model_dump()["width"] == 16


@pytest.mark.parametrize(
    ("stages", "shared", "says"),
    [
        ([], {}, "no [[stage]]"),
        ([{"data": "data/a"}], {}, "a stage has no kind"),
        ([{**FINETUNE, "kind": "tune"}], {}, "'tune' is not a kind of stage"),
        ([EVALUATE], {}, "nothing is trained before it"),
        ([FINETUNE, PRETRAIN], {}, "can't follow another stage"),
        ([PRETRAIN, PRETRAIN], {}, "can't follow another stage"),
        ([PRETRAIN, EVALUATE], {}, "no Dataset of its own"),
        ([PRETRAIN], {"model": {"kind": "popularity"}, "train": {}}, "can't be pre-trained"),
        ([{**PRETRAIN, "data": "data/a"}], {}, "data is not a setting of this stage"),
        ([{**FINETUNE, "datasets": ["data/a"]}], {}, "datasets is not a setting of this stage"),
        ([{"kind": "finetune"}], {}, "no Dataset is named"),
        ([{**PRETRAIN, "datasets": []}], {}, "no Dataset is named"),
        ([FINETUNE], {"trian": {}}, "did you mean train?"),
        ([{**FINETUNE, "train": {"epoch": 3}}], {}, "did you mean train.epochs?"),
        ([FINETUNE, {**EVALUATE, "splits": "test"}], {}, "did you mean split?"),
        ([FINETUNE, {**EVALUATE, "k": []}], {}, "at least 1 item"),
        ([FINETUNE, {**EVALUATE, "k": [0]}], {}, "at least 1"),
        ([FINETUNE, {**EVALUATE, "encoder": ENCODER}], {}, "leave it out"),
        ([FINETUNE, {**EVALUATE, "data": "data/b"}], {}, "another catalogue"),
        ([FINETUNE, {**EVALUATE, "seen": "gain"}], {"seen": "as-printed"}, "learns no gain"),
        ([FINETUNE, EVALUATE], {"train": {"test": False}}, "leaves the test part unread"),
        ([PRETRAIN, {**FINETUNE, "pretrained": "x"}], {}, "names another run"),
        ([PRETRAIN, {**FINETUNE, "model": {"kind": "textknn"}}], {}, "is to be 'textknn'"),
        ([{**FINETUNE, "pretrained": "nowhere"}], {}, "not a run folder"),
        ([{**FINETUNE, "data": "data"}], {}, "not a Dataset folder"),
        ([FINETUNE, {**FINETUNE, "data": "nowhere"}], {}, "not a Dataset folder"),
        ([{**PRETRAIN, "datasets": ["data/a", "nowhere"]}], {}, "not a Dataset folder"),
        ([FINETUNE], {"encoder": "minilm"}, "no text features of encoder 'minilm'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    shops: Path, tmp_path: Path, stages: list[Any], shared: dict[str, Any], says: str
) -> None:
    recipe = write(shops, *stages, name="wrong.toml", **shared)
    with pytest.raises(InputError) as caught:
        run_recipe(recipe, tmp_path / "out")
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_error_names_the_stage(shops: Path, tmp_path: Path) -> None:
    recipe = write(shops, FINETUNE, {**FINETUNE, "train": {"epochs": 0}}, name="wrong.toml")
    with pytest.raises(InputError) as caught:
        read_recipe(recipe, tmp_path)
    assert caught.value.where == f"{recipe}: stage 2 (finetune): train.epochs"


def test_what_a_folder_holds_is_kept(shops: Path, tmp_path: Path) -> None:
    popularity = {"model": {"kind": "popularity"}, "encoder": "", "train": {}}
    recipe = write(shops, FINETUNE, EVALUATE, **popularity, seen="as-printed")
    out = tmp_path / "out"
    run_recipe(recipe, out)
    (out / "mine").mkdir()
    with pytest.raises(InputError, match="already holds something"):
        run_recipe(recipe, out)
    other = write(shops, FINETUNE, name="other.toml", **popularity, seen="leave-out")
    with pytest.raises(InputError, match="not the one that was begun here"):
        run_recipe(other, out, resume=True)
    with pytest.raises(InputError, match="holds no recipe to go on with"):
        run_recipe(recipe, tmp_path / "new", resume=True)
    with pytest.raises(InputError, match="lies in the folder that the recipe writes"):
        inside = {**FINETUNE, "data": str(out / "1-finetune" / "data")}
        run_recipe(write(shops, inside, name="inside.toml", **popularity), out, overwrite=True)
    result = run_recipe(other, out, overwrite=True)
    assert [stage["folder"] for stage in result["stages"]] == ["1-finetune"]
    assert {p.name for p in out.iterdir()} == {"1-finetune", "mine", "recipe.toml", "result.json"}
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="will not be overwritten"):
        run_recipe(recipe, tmp_path / "full", overwrite=True)


def test_looks_at_test_of_a_recipe(shops: Path, tmp_path: Path) -> None:
    unread = {"train": {**QUICK, "test": False}}
    recipe = write(shops, {**FINETUNE, **unread}, {**EVALUATE, "split": "valid"})
    result = run_recipe(recipe, tmp_path / "out")
    assert "test" not in result["stages"][0]
    assert read_looks(tmp_path / "out" / "1-finetune") == []
