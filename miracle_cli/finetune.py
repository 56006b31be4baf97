"""``miracle finetune``: train a recommender on one Dataset."""

from __future__ import annotations

import shlex
import signal
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli.output import message, print_fields, print_json
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.config import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)
INTERRUPTED = 130


@app.command()
def finetune(
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder to write.")],
    data: Annotated[Path | None, typer.Option(help="The Dataset to train on.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Whose text features to read [default: the only ones].")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="transductive|inductive",
            help="transductive learns an embedding of each item beside its text; inductive does "
            "not, and can score items it never saw [default: transductive].",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="default|paper|reference",
            help="Where settings not given come from [default: default].",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings, such as a run's config.toml.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any setting, as in model.width=64 (repeatable)."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="At most so many [default: 100].")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a step [default: 1024].")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW [default: 0.001].")] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many epochs without a better one [default: 10]."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="The validation metric that says which is better [default: recall@10]."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of every random stream [default: 2023].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --out stopped.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that is in --out.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of computation [default: one a physical core]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a multi-interest recommender on one Dataset, and test its best epoch.

    Ctrl-C finishes the step, saves everything and says how to go on; a second one aborts at once.
    """
    from miracle_core.config import load_settings, make_settings, nested, read_values
    from miracle_core.text import feature_name

    given: dict[str, Any] = {
        "data": None if data is None else str(data),
        "encoder": None if encoder is None else feature_name(encoder),
        "preset": preset,
        "train.mode": mode,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.learning_rate": learning_rate,
        "train.patience": patience,
        "train.metric": metric,
        "train.seed": seed,
    }
    given = {name: value for name, value in given.items() if value is not None}
    options = nested(_assigned(assignments or [], given))
    if resume:
        if overwrite:
            raise InputError("--resume and --overwrite contradict each other")
        settings = _resumed(out, {} if config is None else read_values(config), options)
    elif config is not None:
        settings = load_settings(config, options)
    else:
        settings = make_settings(options, where="options")
    if not settings.data:
        raise InputError("no Dataset is named", remedy="name one with --data DIR")
    result = _train(settings, out, resume, overwrite, threads)
    _report(result, out, as_json)


def _assigned(assignments: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options' settings and those of ``--set``: values as in TOML, bare words as text."""
    settings = dict(options)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(
                "is no assignment", where=f"--set {assignment}", remedy="write --set model.width=64"
            )
        if name in settings:
            raise InputError(f"{name} is given twice", where=f"--set {assignment}")
        try:
            parsed = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            parsed = {}
        settings[name] = parsed["value"] if parsed.keys() == {"value"} else text.strip()
    return settings


def _resumed(out: Path, *asked: Mapping[str, Any]) -> Settings:
    """The settings of the run to go on with; what else is asked for must agree with them."""
    from miracle_core.config import make_settings, setting_names
    from miracle_core.data.dataset import Dataset
    from miracle_core.training.run_folder import RunFolder

    folder = RunFolder(out)
    own = folder.settings()
    wanted = make_settings(own.model_dump(mode="json"), *asked, where="options")
    if wanted.data != own.data:
        fingerprint = Dataset.open(wanted.data).manifest.fingerprint
        if fingerprint != folder.dataset().manifest.fingerprint:
            raise InputError(
                "is not the data that the run was begun with",
                where=wanted.data,
                remedy="leave --data out: the run keeps its own copy",
            )
    update = {"data": own.data, "encoder": wanted.encoder or own.encoder}
    wanted = wanted.model_copy(update=update)
    for name in setting_names():
        now, then = _value(wanted, name), _value(own, name)
        if now != then and isinstance(now, str | int | float):
            raise InputError(
                f"{name} is {now!r}, but the run was begun with {then!r}",
                where="--resume",
                remedy="leave it out: a resumed run keeps its settings; or train another --out",
            )
    return own


def _value(settings: Any, name: str) -> object:
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def _train(
    settings: Settings, out: Path, resume: bool, overwrite: bool, threads: int | None
) -> dict[str, Any]:
    import torch

    from miracle_cli.training_display import display
    from miracle_core.training.listeners import TensorBoard
    from miracle_core.training.run_folder import RunFolder
    from miracle_core.training.trainer import finetune as train

    if threads is not None:
        torch.set_num_threads(threads)
    folder = RunFolder(out)
    shown = display(settings, folder.history() if resume else ())
    try:
        with shown, _until_interrupted(shown.stopping) as should_stop:
            return train(
                settings,
                out,
                resume=resume,
                overwrite=overwrite,
                listeners=[shown, TensorBoard(folder.path / "tensorboard")],
                should_stop=should_stop,
            )
    except KeyboardInterrupt:
        message(f"aborted; to go on from the last checkpoint: {_resume(out)}")
        raise


@contextmanager
def _until_interrupted(tell: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C has been pressed; a second press is a KeyboardInterrupt again."""
    pressed = False

    def first(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tell()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _report(result: Mapping[str, Any], out: Path, as_json: bool) -> None:
    from miracle_cli.training_display import clock, show_metrics

    show_metrics(result)
    if as_json:
        print_json(result)
    else:
        fields = {
            "run": out,
            "status": result["status"],
            "epochs": result["epochs"],
            "best epoch": f"{result['best_epoch'] or 'none yet'} (by {result['metric']})",
            "time": clock(result["seconds"]),
        }
        for split in ("valid", "test"):
            for name, value in result.get(split, {}).items():
                fields[f"{split} {name}"] = f"{value:.4f}"
        if "capsules" in result:
            fields["capsules in use"] = result["capsules"]["in_use"]
            fields["active capsules"] = f"{result['capsules']['per_user']:.2f} a user"
        print_fields(fields)
    if result["status"] == "interrupted":
        message(f"everything is saved; to go on: {_resume(out)}")
        raise typer.Exit(INTERRUPTED)
    message(f"next: miracle evaluate {shlex.quote(str(out))}")


def _resume(out: Path) -> str:
    return f"miracle finetune --out {shlex.quote(str(out))} --resume"
