"""``miracle train`` and ``miracle finetune``: train a system on one Dataset."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli import training
from miracle_cli.output import print_json, print_table
from miracle_cli.seen import Seen, seen_option
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.config import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    ctx: typer.Context,
    out: training.Out,
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RECIPE.toml]",
            help="A file of stages (pretrain, finetune, evaluate) that says all there is to "
            "set; with --resume it may be left out.",
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The Dataset to train on.")] = None,
    model: training.Model = None,
    from_run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Start from this run's weights (and network settings) [default: from scratch].",
        ),
    ] = None,
    freeze: Annotated[
        bool | None,
        typer.Option(
            "--freeze/--no-freeze",
            help="Don't train the pre-trained position embeddings and Transformer layers "
            "[default: --freeze with --from].",
        ),
    ] = None,
    encoder: training.Encoder = None,
    seen: Seen = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="transductive|inductive",
            help="transductive learns each item of the catalogue by itself, beside its text if "
            "that is read; inductive does not, and can score items it never saw [default: the "
            "first that the system can].",
        ),
    ] = None,
    preset: training.Preset = None,
    config: training.Config = None,
    assignments: training.Assignments = None,
    epochs: Annotated[
        int | None, typer.Option(help="Maximum number of epochs [default: 100].")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples per step [default: 1024].")
    ] = None,
    learning_rate: training.LearningRate = None,
    patience: training.Patience = None,
    metric: training.Metric = None,
    seed: training.Seed = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Train with this many seeds (--seed and those after it) into RUN/seed-N, and "
            "report the mean.",
        ),
    ] = None,
    resume: training.Resume = False,
    overwrite: training.Overwrite = False,
    device: training.Device = None,
    threads: training.Threads = None,
    as_json: training.AsJson = False,
) -> None:
    """Train a recommender on one Dataset, and test its best epoch (not with train.test=false).

    With a RECIPE.toml: run its stages one after another, each in a folder of its own in --out.
    `miracle models` lists the systems. `finetune` is the same command.

    Ctrl-C finishes the step, saves everything and prints how to continue. A second Ctrl-C aborts
    at once.
    """
    from miracle_cli.recipe import recipe_of, train_recipe
    from miracle_core.text import feature_name

    given: dict[str, Any] = {
        "data": None if data is None else str(data),
        "pretrained": None if from_run is None else str(from_run),
        "encoder": None if encoder is None else feature_name(encoder),
        "preset": preset,
        "model.kind": model,
        "seen": seen_option(seen),
        "train.mode": mode,
        "train.freeze": freeze,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.learning_rate": learning_rate,
        "train.patience": patience,
        "train.metric": metric,
        "train.seed": seed,
        "train.devices": device,
    }
    training.check_modes(resume, overwrite)
    if (stages := recipe_of(recipe, out, resume)) is not None:
        options = {"--config": config, "--set": assignments, "--seeds": seeds, **given}
        train_recipe(stages, out, options, resume, overwrite, threads, as_json, ctx.info_name)
        return
    begun = None
    if resume:
        begun = out if seeds is None else _first_seed(out)
    settings = training.settings_of(given, assignments or [], config, begun)
    if settings.datasets:
        raise InputError("these are settings of a pre-training", remedy="use: miracle pretrain")
    if not settings.data:
        raise InputError("no Dataset is named", remedy="name one with --data DIR")
    training.set_threads(threads)
    if seeds is not None:
        _train_seeds(settings, out, seeds, resume, overwrite, as_json, ctx.info_name)
        return
    again = f"miracle {ctx.info_name} --out {shlex.quote(str(out))} --resume"
    result = _train(settings, out, resume, overwrite, again)
    training.report(result, out, as_json, again, f"miracle evaluate {shlex.quote(str(out))}")


def _train(
    settings: Settings, out: Path, resume: bool, overwrite: bool, again: str
) -> dict[str, Any]:
    from miracle_core.training.finetuning import finetune

    return training.train_shown(
        finetune, settings, out, resume=resume, overwrite=overwrite, again=again
    )


def _first_seed(out: Path) -> Path:
    """The run whose settings all runs of seeds share, but for the seed."""
    runs = {int(path.name[5:]): path for path in out.glob("seed-*") if path.name[5:].isdecimal()}
    if not runs:
        raise InputError(
            "holds no runs of seeds", where=str(out), remedy="leave --resume out to begin"
        )
    return runs[min(runs)]


def _train_seeds(
    settings: Settings,
    out: Path,
    seeds: int,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    command: str | None,
) -> None:
    from miracle_core.training.seeds import finetune_seeds

    again = f"miracle {command} --out {shlex.quote(str(out))} --seeds {seeds} --resume"

    def one(own: Settings, path: Path, go_on: bool) -> dict[str, Any]:
        from miracle_cli.output import message

        message(f"seed {own.train.seed}")
        return _train(own, path, go_on, False, again)

    summary = finetune_seeds(settings, out, seeds, resume=resume, overwrite=overwrite, train=one)
    training.stop_if_interrupted(summary, again)
    if as_json:
        print_json(summary)
        return
    names = [f"{split} {name}" for split in summary["mean"] for name in summary["mean"][split]]
    rows = {str(run["seed"]): run for run in summary["runs"]}
    rows |= {name: summary[name] for name in ("mean", "deviation")}
    print_table(
        ["seed", *rows],
        [[name, *(f"{_figure(row, name):.4f}" for row in rows.values())] for name in names],
        title=f"{summary['dataset']}, {seeds} seeds",
        right=list(rows),
    )


def _figure(row: dict[str, Any], name: str) -> float:
    split, _, metric = name.partition(" ")
    value: float = row[split][metric]
    return value
