"""``miracle pretrain``: train on several Datasets together."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from miracle_cli import training
from miracle_cli.seen import Seen, seen_option
from miracle_core.errors import InputError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def pretrain(
    out: training.Out,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="A Dataset to train on (repeatable: one for each domain)."),
    ] = None,
    encoder: training.Encoder = None,
    model: training.Model = None,
    seen: Seen = None,
    preset: training.Preset = None,
    config: training.Config = None,
    assignments: training.Assignments = None,
    mix_temperature: Annotated[
        float | None,
        typer.Option(
            help="A domain's share is proportional to (its examples)^T: T = 1 by size, 0 all equal "
            "[default: 1]."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of epochs [default: the system's own and the preset's: 2 for "
            "miracle, 5 for unisrec, 40 for s3rec]."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Examples per step [default: 2048; 256 for s3rec, 8192 for unisrec's preset "
            "paper]."
        ),
    ] = None,
    learning_rate: training.LearningRate = None,
    patience: training.Patience = None,
    metric: training.Metric = None,
    seed: training.Seed = None,
    resume: training.Resume = False,
    overwrite: training.Overwrite = False,
    device: training.Device = None,
    threads: training.Threads = None,
    as_json: training.AsJson = False,
) -> None:
    """Train on several Datasets together, for `finetune --from` or for zero-shot use.

    A system that knows items one by one (s3rec) is pre-trained on the one Dataset that it is then
    fine-tuned on, and the best epoch has the lowest loss on its validation part.

    Otherwise the best epoch has the highest mean validation metric over the Datasets. The run
    keeps no copy of the data: while it can be resumed, the folders must stay where they are, seen
    from the run.

    Ctrl-C finishes the step, saves everything and prints how to continue. A second Ctrl-C aborts
    at once.
    """
    from miracle_core.text import feature_name
    from miracle_core.training.pretraining import pretrain as train

    given: dict[str, Any] = {
        "datasets": [str(folder) for folder in data or []] or None,
        "encoder": None if encoder is None else feature_name(encoder),
        "preset": preset,
        "model.kind": model,
        "seen": seen_option(seen),
        "pretrain.mix_temperature": mix_temperature,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.learning_rate": learning_rate,
        "train.patience": patience,
        "train.metric": metric,
        "train.seed": seed,
        "train.devices": device,
    }
    training.check_modes(resume, overwrite)
    settings = training.settings_of(given, assignments or [], config, out if resume else None)
    if not settings.datasets:
        raise InputError("no Dataset is named", remedy="name each with --data DIR")
    training.set_threads(threads)
    place = shlex.quote(str(out))
    again = f"miracle pretrain --out {place} --resume"
    result = training.train_shown(
        train, settings, out, resume=resume, overwrite=overwrite, again=again
    )
    training.report(
        result, out, as_json, again, f"miracle finetune --from {place} --data DATA --out NEW"
    )
