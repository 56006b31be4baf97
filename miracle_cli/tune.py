"""``miracle tune``: search a system's settings on validation data."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli import training
from miracle_cli.output import message, print_fields, print_json, print_table
from miracle_cli.seen import Seen, seen_option
from miracle_core.errors import command

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.tuning.study import Trial

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def tune(
    data: Annotated[Path, typer.Option(help="The Dataset to search on.")],
    trials: Annotated[int, typer.Option(min=1, help="How many trials the study is to have.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the study.")],
    model: training.Model = None,
    encoder: training.Encoder = None,
    seen: Seen = None,
    preset: training.Preset = None,
    config: training.Config = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any setting, as in model.width=64; it is not searched (repeatable).",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Maximum number of epochs of a trial [default: 100].")
    ] = None,
    patience: training.Patience = None,
    metric: training.Metric = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the search and of each trial [default: 2023].")
    ] = None,
    threads: training.Threads = None,
    as_json: training.AsJson = False,
) -> None:
    """Search a system's settings: the same number of trials for every system, validation only.

    The test part is never computed. The first trial has the settings that are given or default; the
    best ones are left in DIR/best.toml for `miracle train --config`. `miracle models NAME` shows
    what is searched.

    The same command goes on with a study that was stopped. Started several times at once, also on
    several machines that share DIR, the commands share its trials.
    """
    from miracle_core.text import feature_name
    from miracle_core.tuning.study import tune as search

    given: dict[str, Any] = {
        "data": str(data),
        "encoder": None if encoder is None else feature_name(encoder),
        "preset": preset,
        "model.kind": model,
        "seen": seen_option(seen),
        "train.epochs": epochs,
        "train.patience": patience,
        "train.metric": metric,
        "train.seed": seed,
    }
    settings = training.settings_of(given, assignments or [], config, None)
    fixed = [name.partition("=")[0].strip() for name in assignments or []]
    fixed += [name for name, value in given.items() if value is not None]
    training.set_threads(threads)
    again = shlex.join(["miracle", *sys.argv[1:]])
    result = search(
        settings,
        out,
        trials,
        fixed=fixed,
        train=lambda own, folder, resume: _train(own, folder, resume, again),
        begins=_begins,
    )
    if as_json:
        print_json(result)
    else:
        _show(result)
    training.stop_if_interrupted(result, again)
    if result["status"] == "others at work":
        message("another process trains the last trials; until it ends the best may change")
    elif result["config"] is not None:
        seeds = ["--seeds", "5"] if settings.spec.seeded else []
        after = command("miracle", "train", "--config", result["config"], *seeds)
        message(f"next: {after} --out RUN")


def _begins(trial: Trial, of: int) -> None:
    values = ", ".join(f"{name} {_number(value)}" for name, value in trial.values.items())
    message(f"trial {trial.number} ({trial.number + 1} of {of}): {values}")


def _train(settings: Settings, folder: Path, resume: bool, again: str) -> dict[str, Any]:
    from miracle_core.training.finetuning import finetune

    return training.train_shown(
        finetune, settings, folder, resume=resume, overwrite=False, again=again, curves=False
    )


def _show(result: Mapping[str, Any]) -> None:
    best = result["best"]
    names = result["searched"]
    short = [name.rpartition(".")[2] for name in names]
    print_table(
        ["trial", result["metric"], "best so far", "epochs", *short, "state"],
        [
            [
                f"{row['trial']}{' *' if best and row['trial'] == best['trial'] else ''}",
                "" if row["value"] is None else f"{row['value']:.4f}",
                "" if row["best_so_far"] is None else f"{row['best_so_far']:.4f}",
                "" if row["epochs"] is None else row["epochs"],
                *(_number(row[name]) for name in names),
                row["state"] + (f": {row['why']}" if row["why"] else ""),
            ]
            for row in result["trials"]
        ],
        title=f"{result['system']} on {result['dataset']}, validation (* best)",
        right=["trial", result["metric"], "best so far", "epochs", *short],
    )
    fields = {"status": result["status"]}
    if best is not None:
        fields |= {"best trial": best["run"], "its settings": result["config"]}
    print_fields(fields)


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
