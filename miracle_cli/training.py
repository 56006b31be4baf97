"""What the training commands share: options to settings, Ctrl-C, the report."""

from __future__ import annotations

import signal
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from miracle_cli.output import INTERRUPTED, message, print_fields, print_json
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.training.listeners import Listener

Out = Annotated[Path, typer.Option(metavar="RUN", help="The run folder to write.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which system, see miracle models [default: miracle]."),
]
Encoder = Annotated[
    str | None,
    typer.Option(help="The encoder whose text features are read [default: the only one]."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="default|paper|reference",
        help="The preset for all settings that are not given [default: default].",
    ),
]
Config = Annotated[
    Path | None, typer.Option(help="A TOML file of settings, such as a run's config.toml.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Any setting, as in model.width=64 (repeatable)."
    ),
]
LearningRate = Annotated[
    float | None, typer.Option(help="Learning rate of AdamW [default: 0.001].")
]
Patience = Annotated[
    int | None, typer.Option(help="Stop after this many epochs without improvement [default: 10].")
]
Metric = Annotated[
    str | None,
    typer.Option(help="The validation metric that selects the best epoch [default: recall@10]."),
]
Seed = Annotated[int | None, typer.Option(help="Random seed [default: 2023].")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --out where it stopped.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in --out.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Number of threads [default: one per physical core].")
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="Where to train [default: auto, a GPU of NVIDIA's if there is one].",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class Train(Protocol):
    """``finetune`` or ``pretrain`` of the core."""

    def __call__(
        self,
        settings: Settings,
        out: str | Path,
        *,
        resume: bool,
        overwrite: bool,
        listeners: Sequence[Listener],
        should_stop: Callable[[], bool],
    ) -> dict[str, Any]:
        """Train one run."""


def settings_of(
    options: Mapping[str, Any], assignments: Sequence[str], config: Path | None, run: Path | None
) -> Settings:
    """The settings of a run: options beat the file, which beats a run gone on with or begun from.

    Args:
        options: settings by dotted name; None is not given.
        assignments: those of ``--set``.
        config: a file of settings.
        run: the run to resume, whose settings hold: nothing may contradict them.
    """
    from miracle_core.config import make_settings, nested, read_values
    from miracle_core.training.transfer import settings_from

    given = {name: value for name, value in options.items() if value is not None}
    asked = nested(assigned(assignments, given))
    values = {} if config is None else read_values(config)
    if run is not None:
        with named_as_typed(given, assignments):
            return _resumed(run, values, asked)
    pretrained = asked.get("pretrained") or values.get("pretrained")
    ground = settings_from(pretrained) if isinstance(pretrained, str) and pretrained else {}
    model = asked.get("model")
    kind = model.get("kind") if isinstance(model, dict) else None
    if ground and kind not in (None, ground["model"]["kind"]):
        raise InputError(
            f"is a run of {ground['model']['kind']!r}, and this is to be {kind!r}",
            where=str(pretrained),
            remedy=f"say --model {ground['model']['kind']}, or leave --from out",
        )
    if config is not None:
        # On its own first, so that what is wrong in the file is never blamed on an option.
        make_settings(ground, values, where=str(config))
    with named_as_typed(given, assignments):
        return make_settings(ground, values, asked, where="options")


# Options whose names are not those of their settings.
_OPTION_OF = {
    "datasets": "--data",
    "pretrained": "--from",
    "model.kind": "--model",
    "train.devices": "--device",
}


@contextmanager
def named_as_typed(
    options: Iterable[str], assignments: Sequence[str], places: Iterable[str] = ("options",)
) -> Iterator[None]:
    """Let an error about a setting name what the person typed: ``--epochs``, ``--set ...``.

    Args:
        options: settings that were given by options of their own, by dotted name.
        assignments: those of ``--set``.
        places: what the error may say before the setting's name, if these override all else there.
    """
    try:
        yield
    except InputError as error:
        name = error.where or ""
        for place in places:
            name = name.removeprefix(f"{place}: ")
        for assignment in assignments:
            if assignment.partition("=")[0].strip() == name:
                error.where = f"--set {assignment}"
        if name in options:
            error.where = _OPTION_OF.get(name, "--" + name.rpartition(".")[2].replace("_", "-"))
        raise


def assigned(assignments: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options' settings and those of ``--set``: values as in TOML, bare words as text."""
    settings = dict(options)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(
                "is not an assignment",
                where=f"--set {assignment}",
                remedy="write --set model.width=64",
            )
        if name in settings:
            raise InputError(f"{name} is given twice", where=f"--set {assignment}")
        try:
            parsed = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            parsed = {}
        settings[name] = parsed["value"] if parsed.keys() == {"value"} else text.strip()
    return settings


def _resumed(run: Path, *asked: Mapping[str, Any]) -> Settings:
    """The settings of the run to go on with; what else is asked for must agree with them."""
    from miracle_core.config import make_settings, setting_names
    from miracle_core.data.dataset import Dataset
    from miracle_core.paths import as_path
    from miracle_core.runs.folder import RunFolder

    folder = RunFolder(run)
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
    update: dict[str, Any] = {
        "data": own.data,
        "encoder": wanted.encoder or own.encoder,
        "datasets": [str(as_path(folder).resolve()) for folder in wanted.datasets],
    }
    if wanted.pretrained:
        update["pretrained"] = str(as_path(wanted.pretrained).resolve())
    wanted = wanted.model_copy(update=update)
    for name in setting_names(type(own)):
        now, then = _value(wanted, name), _value(own, name)
        if name == "train.devices":
            continue  # it is no part of what is learned: another machine may go on
        if now != then and isinstance(now, str | int | float | list):
            raise InputError(
                f"{name} is {now!r}, but the run was begun with {then!r}",
                where="--resume",
                remedy="leave it out: a resumed run keeps its settings; or train another --out",
            )
    train = own.train.model_copy(update={"devices": wanted.train.devices})
    return own.model_copy(update={"train": train})


def _value(settings: Any, name: str) -> object:
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def check_modes(resume: bool, overwrite: bool) -> None:
    """Refuse ``--resume`` with ``--overwrite``."""
    if resume and overwrite:
        raise InputError("--resume and --overwrite contradict each other")


def set_threads(threads: int | None) -> None:
    """Compute with so many threads."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def train_shown(
    train: Train,
    settings: Settings,
    out: Path,
    *,
    resume: bool,
    overwrite: bool,
    again: str,
    curves: bool = True,
) -> dict[str, Any]:
    """Train with a display on stderr, TensorBoard events, and Ctrl-C as a wish to stop.

    Args:
        train: what trains.
        settings: the whole run.
        out: its folder.
        resume: go on where it stopped.
        overwrite: replace a run that is there.
        again: the command that goes on, should it be aborted.
        curves: write TensorBoard events.
    """
    from miracle_cli.training_display import display
    from miracle_core.runs.folder import RunFolder
    from miracle_core.training.listeners import TensorBoard

    folder = RunFolder(out)
    shown = display(settings, folder.history() if resume else ())
    try:
        with shown, until_interrupted(shown.stopping) as should_stop:
            return train(
                settings,
                out,
                resume=resume,
                overwrite=overwrite,
                listeners=[shown, *([TensorBoard(folder.path / "tensorboard")] if curves else [])],
                should_stop=should_stop,
            )
    except KeyboardInterrupt:
        message(f"aborted; to go on from the last checkpoint: {again}")
        raise


@contextmanager
def until_interrupted(tell: Callable[[], None]) -> Iterator[Callable[[], bool]]:
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


def report(result: Mapping[str, Any], out: Path, as_json: bool, again: str, after: str) -> None:
    """The result on stdout, and on stderr what to type next.

    Args:
        result: what ``result.json`` holds.
        out: the run folder.
        as_json: print the result itself.
        again: the command that goes on with an interrupted run.
        after: the command that comes after a run that has ended.
    """
    from miracle_cli.training_display import clock, show_metrics

    show_metrics(result)
    if as_json:
        print_json(result)
    else:
        fields = {"run": out, "status": result["status"], "epochs": result["epochs"]}
        if result["epochs"] or result["status"] == "interrupted":
            best = result["best_epoch"] or "none yet"
            fields["best epoch"] = f"{best} (by {result['metric']})"
        fields["time"] = clock(result["seconds"])
        if "attributes" in result:
            fields["attributes"] = _listed(result["attributes"])
        if "objectives" in result:
            fields["objectives"] = ", ".join(result["objectives"])
        for split in ("valid", "test"):
            for name, value in result.get(split, {}).items():
                fields[f"{split} {name}"] = f"{value:.4f}"
        metric, domains = result["metric"], result.get("domains", {})
        if len(domains) > 1:
            for domain, metrics in domains.items():
                fields[f"valid {metric} of {domain}"] = f"{metrics[metric]:.4f}"
        for name, value in result.get("figures", {}).items():
            fields[name.replace("_", " ")] = f"{value:.4g}"
        print_fields(fields)
    stop_if_interrupted(result, again)
    message(f"next: {after}")


def _listed(attributes: Mapping[str, int]) -> str:
    """Attributes with how many values each has."""
    return ", ".join(f"{name} ({n:,} values)" for name, n in attributes.items()) or "none"


def stop_if_interrupted(result: Mapping[str, Any], again: str) -> None:
    """End the program as a shell expects of one that Ctrl-C stopped, if it was."""
    if result["status"] == "interrupted":
        message(f"everything is saved; to go on: {again}")
        raise typer.Exit(INTERRUPTED)
