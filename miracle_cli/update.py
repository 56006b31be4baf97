"""``miracle update``: go on with a run on next week's data."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli import training
from miracle_cli.output import message, print_fields, print_json

if TYPE_CHECKING:
    from miracle_core.config import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def update(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run to go on from.")],
    data: Annotated[
        Path,
        typer.Option(
            help="The new Dataset of the same shop, with text features of the run's encoder."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="NEW_RUN", help="The run folder to write.")],
    epochs: Annotated[
        int | None, typer.Option(help="Maximum number of epochs [default: the run's].")
    ] = None,
    patience: training.Patience = None,
    learning_rate: training.LearningRate = None,
    assignments: training.Assignments = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="If the new run is no worse, let both change places: RUN is then the new one, "
            "NEW_RUN the old one.",
        ),
    ] = False,
    overwrite: training.Overwrite = False,
    threads: training.Threads = None,
    as_json: training.AsJson = False,
) -> None:
    """Go on with a run on new data: items are kept by their ids, new ones begin fresh.

    The new run is then held against the old run's weights on the new validation part. Exit code 1
    says that it is worse: the 95 % interval of the paired difference lies below zero.
    """
    from miracle_cli.progress import RichProgress
    from miracle_core.config import nested
    from miracle_core.evaluation.checks import verdict
    from miracle_core.training.finetuning import finetune
    from miracle_core.training.update import update as go_on

    training.set_threads(threads)
    given = {
        "train.epochs": epochs,
        "train.patience": patience,
        "train.learning_rate": learning_rate,
    }
    asked = {name: value for name, value in given.items() if value is not None}
    changes = nested(training.assigned(assignments or [], asked))
    words = ["miracle", "update", str(run), "--data", str(data), "--out", str(out), "--overwrite"]
    again = shlex.join(words)

    def train(settings: Settings, new: Path, *, start: Any, overwrite: bool) -> dict[str, Any]:
        return training.train_shown(
            partial(finetune, start=start),
            settings,
            new,
            resume=False,
            overwrite=overwrite,
            again=again,
        )

    with training.named_as_typed(asked, assignments or []):
        found = go_on(
            run,
            data,
            out,
            changes=changes,
            replace_old=replace,
            overwrite=overwrite,
            train=train,
            progress=RichProgress(),
        )
    training.stop_if_interrupted(found.result, again)
    assert found.check is not None
    message(found.check.detail)
    if replace and not found.replaced:
        message(f"nothing was replaced: {run} is as it was, and the new run is in {out}")
    if as_json:
        print_json(found.summary())
    else:
        check = found.check
        low, high = check.figures["interval"]
        print_fields(
            {
                "items kept": found.items.kept,
                "items new": found.items.new,
                "items gone": found.items.gone,
                "new run": str(found.run),
                **({"old run": str(found.old)} if found.replaced else {}),
                f"old {check.metric}": f"{check.figures['base_value']:.4f}",
                f"new {check.metric}": f"{check.value:.4f}",
                "difference": f"{check.figures['difference']:+.4f} (95 % interval {low:+.4f} to "
                f"{high:+.4f})",
                "verdict": verdict(low, high),
            }
        )
    if found.check.failed:
        raise typer.Exit(1)
