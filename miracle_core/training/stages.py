"""A recipe run: its stages one after another in one folder, resumable as a whole.

    recipe.toml               the recipe, its paths relative to this folder
    1-pretrain/, 2-finetune/  a run folder a training
    3-evaluate/result.json    what an evaluation found
    result.json               every stage's result

A stage that is done is never touched again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import tomli_w

from miracle_core.config import Settings
from miracle_core.data.corpus import Corpus
from miracle_core.data.dataset import Dataset, Split
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.files import read_json, to_overwrite, write_json, write_text
from miracle_core.locks import one_writer
from miracle_core.paths import as_path, portable
from miracle_core.processes import Processes, processes
from miracle_core.progress import SILENT, Progress
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import check_needs
from miracle_core.runs.origin import Origin, catalogue
from miracle_core.training.finetuning import finetune
from miracle_core.training.pretraining import pretrain
from miracle_core.training.recipe import (
    KINDS,
    Kind,
    Recipe,
    Stage,
    read_located,
    read_recipe,
    with_paths,
)
from miracle_core.training.transfer import Pretrained, check_catalogue

RECIPE = "recipe.toml"
RESULT = "result.json"
# Kind of training, settings, run folder, whether to resume: the result.
Train = Callable[[Kind, Settings, Path, bool], dict[str, Any]]


def run_recipe(
    path: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    train: Train | None = None,
    begins: Callable[[Stage], None] = lambda stage: None,
    note: Callable[[str], None] = lambda text: None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Run a recipe's stages, each in a folder of its own in ``out``.

    Args:
        path: the recipe; to resume, also the ``recipe.toml`` that ``out`` holds.
        out: the folder of all stages.
        resume: go on: stages that are done stay, one that was cut off goes on, others begin.
        overwrite: replace an earlier recipe's folder.
        train: trains one stage; None trains silently.
        begins: called with each stage that is run now, not with those that were done before.
        note: called with what a person should read about an evaluation.
        progress: shows an evaluation's users.

    Returns:
        What ``result.json`` holds; where a stage was interrupted, with the stages so far.

    Raises:
        InputError: the recipe or its data are wrong, which shows before anything is written; or
            ``out`` is taken, was begun with another recipe, or another training is writing there.
        MiracleError: what a stage's training raises.
    """
    out, together, train = as_path(out), processes(), train or _silently
    with ExitStack() as held:
        together.on_first(lambda: held.enter_context(one_writer(out)))
        return _run_recipe(path, out, together, resume, overwrite, train, begins, note, progress)


def _run_recipe(
    path: str | Path,
    out: Path,
    together: Processes,
    resume: bool,
    overwrite: bool,
    train: Train,
    begins: Callable[[Stage], None],
    note: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    recipe = read_recipe(path, out)
    if resume:
        _check_same(recipe, out)
    else:
        together.on_first(lambda: _check_free(out, overwrite=overwrite))
    _check_data(recipe, out, resume=resume)
    if not resume:
        together.on_first(lambda: _begin(recipe, out))
    results: list[dict[str, Any]] = []
    for stage in recipe.stages:
        result = _finished(stage, out) if resume else None
        if result is None:
            begins(stage)
            if stage.settings is not None:
                begun = resume and RunFolder(out / stage.folder).config.is_file()
                result = train(stage.kind, stage.settings, out / stage.folder, begun)
            else:
                result = _evaluated(stage, recipe, out, note, progress)
        results.append(
            {"stage": stage.number, "kind": stage.kind, "folder": stage.folder, **result}
        )
        if result["status"] == "interrupted":
            break
    whole = {"status": results[-1]["status"], "stages": results}
    if whole["status"] != "interrupted":
        whole["status"] = "finished"
    together.on_first(lambda: write_json(out / RESULT, whole))
    return whole


def _silently(kind: Kind, settings: Settings, path: Path, resume: bool) -> dict[str, Any]:
    return (pretrain if kind == "pretrain" else finetune)(settings, path, resume=resume)


def _evaluated(
    stage: Stage, recipe: Recipe, out: Path, note: Callable[[str], None], progress: Progress
) -> dict[str, Any]:
    """The result of an ``evaluate`` stage, written to its folder."""
    asked = stage.evaluation
    assert asked is not None
    run = recipe.stages[stage.run - 1].folder
    found = evaluate_run(
        out / run,
        asked.data or None,
        cast("Split", asked.split),
        encoder=asked.encoder or None,
        ks=sorted(set(asked.k)),
        seen=asked.seen_rule,
        progress=progress,
    )
    for text in found.notes:
        note(text)
    result = {"status": "finished", "run": run, **found.summary()}
    processes().on_first(lambda: write_json(out / stage.folder / RESULT, result))
    return result


def _finished(stage: Stage, out: Path) -> dict[str, Any] | None:
    """The result of a stage that is done, or None."""
    path = out / stage.folder / RESULT
    result: dict[str, Any] | None = read_json(path) if path.is_file() else None
    return None if result is None or result["status"] == "interrupted" else result


def _check_same(recipe: Recipe, out: Path) -> None:
    """Refuse to go on with another recipe than the one that ``out`` was begun with."""
    kept = out / RECIPE
    if not kept.is_file():
        raise InputError(
            "holds no recipe to go on with",
            where=str(out),
            remedy="leave --resume out to begin",
        )
    if read_located(kept) != recipe.values:
        raise InputError(
            "the recipe is not the one that was begun here",
            where=str(kept),
            remedy="go on with that one (leave the recipe's file out), or choose another --out",
        )


def _check_free(out: Path, *, overwrite: bool) -> None:
    if to_overwrite(out, overwrite=overwrite) and not (out / RECIPE).is_file():
        raise InputError(
            "holds no recipe, so it will not be overwritten",
            where=str(out),
            remedy="choose another --out",
        )


def _begin(recipe: Recipe, out: Path) -> None:
    """Clear away an earlier recipe, and keep this one beside its stages."""
    # The result and all stages at once: a later --resume must not take an old stage for a new one.
    (out / RESULT).unlink(missing_ok=True)
    for kind in KINDS:
        for old in out.glob(f"[0-9]*-{kind}"):
            if old.name.removesuffix(f"-{kind}").isdecimal():
                with one_writer(old):
                    shutil.rmtree(old)
    kept = with_paths(recipe.values, lambda path: portable(path, out))
    write_text(out / RECIPE, tomli_w.dumps(kept))


def _check_data(recipe: Recipe, out: Path, *, resume: bool) -> None:
    """Refuse data that can't be read, of every stage that has not begun.

    Raises:
        InputError: it can't, or it lies in the folder that is to be written.
    """
    own = [out / stage.folder for stage in recipe.stages]
    for stage in recipe.stages:
        if not resume:
            _check_outside(stage, out, own)
        if resume and (out / stage.folder).is_dir():
            continue
        if stage.evaluation is not None and stage.evaluation.data:
            _check_evaluated(stage, recipe)
        elif stage.settings is not None and stage.settings.datasets:
            if stage.settings.spec.zero_shot:
                Corpus.open(stage.settings.datasets, stage.settings.encoder or None)
            else:
                check_needs(stage.settings.spec, Dataset.open(stage.settings.datasets[0]))
        elif stage.settings is not None:
            dataset = Dataset.open(stage.settings.data)
            check_needs(stage.settings.spec, dataset)
            if "text" in stage.settings.spec.needs and not stage.settings.pretrained:
                dataset.feature_set(stage.settings.encoder or None)
            if stage.settings.pretrained:
                _check_start(stage.settings, dataset, recipe, own)


def _check_start(settings: Settings, dataset: Dataset, recipe: Recipe, own: list[Path]) -> None:
    """Refuse to start from a run that can't be read, or that does not know the catalogue.

    The run may be one that an earlier stage of the recipe has yet to make.
    """
    start = Path(settings.pretrained).resolve()
    made = {folder.resolve(): stage for folder, stage in zip(own, recipe.stages, strict=True)}
    if start not in made:
        check_catalogue(settings.spec, Pretrained.open(start).origin, dataset)
        return
    before = made[start].settings
    if before is not None and not settings.spec.zero_shot:
        origin = Origin.of([Dataset.open(each) for each in before.datasets], None)
        check_catalogue(settings.spec, origin, dataset)


def _check_outside(stage: Stage, out: Path, own: list[Path]) -> None:
    """Refuse to read from the recipe's own folder, except what its stages leave there."""
    named = [stage.evaluation.data] if stage.evaluation is not None else []
    if stage.settings is not None:
        named += [stage.settings.data, *stage.settings.datasets, stage.settings.pretrained]
    made = {folder.resolve() for folder in own}
    for path in (Path(name).resolve() for name in named if name):
        if path not in made and path.is_relative_to(out.resolve()):
            raise InputError(
                f"reads {path}, which lies in the folder that the recipe writes",
                where=stage.place,
                remedy="choose another --out",
            )


def _check_evaluated(stage: Stage, recipe: Recipe) -> None:
    """Refuse a catalogue that a transductive run will not know."""
    assert stage.evaluation is not None
    other = Dataset.open(stage.evaluation.data)
    settings = recipe.stages[stage.run - 1].settings
    assert settings is not None
    if settings.datasets or settings.train.mode == "inductive":
        return
    if catalogue(Dataset.open(settings.data)) != catalogue(other):
        raise InputError(
            "is another catalogue than that of the run before it, which is transductive",
            where=f"{stage.place}: data",
            remedy='leave data out, or train with train.mode = "inductive"',
        )
