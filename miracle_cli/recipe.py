"""``miracle train RECIPE.toml``: several stages in one folder."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miracle_cli import training
from miracle_cli.output import message, print_json, print_table
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.training.recipe import Kind, Stage

_FLAGS = {
    "model.kind": "--model",
    "pretrained": "--from",
    "train.freeze": "--freeze",
    "train.mode": "--mode",
}


def recipe_of(given: Path | None, out: Path, resume: bool) -> Path | None:
    """The recipe to run: the one that is named, or the one that ``--resume`` goes on with."""
    kept = out / "recipe.toml"
    if given is None and resume and kept.is_file():
        return kept
    return given


def train_recipe(
    recipe: Path,
    out: Path,
    options: Mapping[str, Any],
    resume: bool,
    overwrite: bool,
    threads: int | None,
    as_json: bool,
    command: str | None,
) -> None:
    """Run a recipe, show each stage, and print the result of all.

    Args:
        recipe: the file.
        out: the folder of the whole.
        options: settings given as options, by name; with a recipe there may be none.
        resume: go on where it stopped.
        overwrite: replace what an earlier recipe left in ``out``.
        threads: compute with so many.
        as_json: print the result itself.
        command: what the person typed, ``train`` or ``finetune``.

    Raises:
        InputError: a setting is given as an option.
    """
    from miracle_cli.progress import RichProgress
    from miracle_core.training.finetuning import finetune
    from miracle_core.training.pretraining import pretrain
    from miracle_core.training.stages import run_recipe

    said = [name for name, value in options.items() if value not in (None, [])]
    if said:
        name = _FLAGS.get(said[0], said[0])
        if not name.startswith("--"):
            name = f"--{name.removeprefix('train.').replace('_', '-')}"
        raise InputError(
            "a recipe says itself what is set", where=name, remedy="write it into the recipe"
        )
    training.set_threads(threads)
    again = f"miracle {command} --out {shlex.quote(str(out))} --resume"

    def one(kind: Kind, settings: Settings, folder: Path, go_on: bool) -> dict[str, Any]:
        train = pretrain if kind == "pretrain" else finetune
        return training.train_shown(
            train, settings, folder, resume=go_on, overwrite=False, again=again
        )

    def begins(stage: Stage) -> None:
        message(f"stage {stage.number}: {stage.kind}, in {out / stage.folder}")

    result = run_recipe(
        recipe,
        out,
        resume=resume,
        overwrite=overwrite,
        train=one,
        begins=begins,
        note=message,
        progress=RichProgress(),
    )
    if as_json:
        print_json(result)
    else:
        _show(result)
    training.stop_if_interrupted(result, again)


def _show(result: Mapping[str, Any]) -> None:
    """A row for each part of the data that a stage measured."""
    rows: list[tuple[str, str, dict[str, float]]] = []
    for stage in result["stages"]:
        if "metrics" in stage:
            rows.append((stage["folder"], f"{stage['dataset']} {stage['split']}", stage["metrics"]))
        rows += [
            (stage["folder"], split, stage[split]) for split in ("valid", "test") if split in stage
        ]
    names = list(dict.fromkeys(name for _, _, metrics in rows for name in metrics))
    print_table(
        ["stage", "part", *names],
        [
            [folder, part, *(f"{own[name]:.4f}" if name in own else "" for name in names)]
            for folder, part, own in rows
        ],
        right=names,
    )
