"""``miracle data``: look at a Dataset folder, check it, or write it for other toolkits."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli.output import bar, plain, print_fields, print_json, print_table

if TYPE_CHECKING:
    from miracle_core.data.dataset import Dataset
    from miracle_core.data.statistics import LengthClass

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Show a Dataset's figures, verify its files, or export it.",
)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A Dataset folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(folder: Folder, as_json: AsJson = False) -> None:
    """Show a Dataset's figures: table 1, what each step left, lengths, popularity, features."""
    from miracle_core.data.dataset import Dataset

    dataset = Dataset.open(folder)
    if as_json:
        print_json(summary(dataset))
        return
    print_counts(dataset)
    print_lengths(dataset)
    print_popularity(dataset)
    sources = [[s.file, s.bytes, s.sha256[:12]] for s in dataset.manifest.sources]
    print_table(["source", "bytes", "sha256"], sources)
    print_fields(_flat(dataset.manifest.settings), title="settings")
    print_fields({"split hash": dataset.manifest.fingerprint})


@app.command()
def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Check that a Dataset is still what was written: hashes, arrays, ids, text features."""
    from miracle_cli.progress import RichProgress
    from miracle_core.data.verify import verify as check

    good = check(folder, RichProgress())
    if as_json:
        print_json({"folder": str(folder), "good": True, "checks": good})
        return
    for line in good:
        typer.echo(f"good  {line}")


class Target(StrEnum):
    """What a Dataset can be written as."""

    atomic = "atomic"


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The folder to write: a new one.")],
    to: Annotated[
        Target, typer.Option(help="atomic: RecBole's and UniSRec's files, with the same split.")
    ] = Target.atomic,
    cap: Annotated[int, typer.Option(min=1, help="The longest history, in items.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Write a Dataset for other toolkits, so that they run on the same split."""
    from miracle_cli.progress import RichProgress
    from miracle_core.data.dataset import Dataset
    from miracle_core.data.export import export_atomic

    files = export_atomic(Dataset.open(folder), out, cap=cap, progress=RichProgress())
    if as_json:
        print_json({"folder": str(out), "to": to.value, "files": [path.name for path in files]})
        return
    for path in files:
        typer.echo(plain(str(path)))


def summary(dataset: Dataset) -> dict[str, Any]:
    """What ``--json`` prints of a Dataset."""
    from miracle_core.data.losses import losses
    from miracle_core.data.statistics import describe

    found = describe(dataset)
    manifest = dataset.manifest
    return {
        "dataset": dataset.name,
        "folder": str(dataset.folder),
        **found.as_dict(),
        "split": manifest.split,
        "settings": manifest.settings,
        "steps": manifest.counts.get("steps", []),
        "lost": [loss.model_dump() for loss in losses(dataset)],
        "duplicates": manifest.counts.get("duplicates"),
        "skipped": manifest.counts.get("skipped", []),
        "lengths": [vars(length) for length in found.lengths],
        "popularity": [{"items": at, "interactions": share} for at, share in found.popularity],
        "cold": vars(found.cold),
        "features": {
            name: {"dtype": entry.dtype, **entry.encoder.model_dump()}
            for name, entry in manifest.features.items()
        },
        "sources": [source.model_dump() for source in manifest.sources],
        "fingerprint": manifest.fingerprint,
    }


def print_counts(dataset: Dataset) -> None:
    """The paper's table 1 for one Dataset, what each step left and lost, and its text features."""
    from miracle_core.data.statistics import describe

    found = describe(dataset)
    print_table(
        ["dataset", "users", "items", "interactions", "density", "mean length"],
        [
            [
                dataset.name,
                found.users,
                found.items,
                found.interactions,
                f"{found.density:.3%}",
                f"{found.mean_length:.2f}",
            ]
        ],
        right=("density", "mean length"),
    )
    steps = dataset.manifest.counts.get("steps", [])
    print_table(
        ["step", "users", "items", "interactions"],
        [[step[key] for key in ("step", "users", "items", "interactions")] for step in steps],
    )
    print_losses(dataset)
    skipped = dataset.manifest.counts.get("skipped", [])
    if skipped:
        print_table(
            ["skipped", "rows", "first"],
            [[skip["reason"], skip["rows"], skip["first"]] for skip in skipped],
        )
    cold = found.cold
    print_fields(
        {
            "split": f"{dataset.manifest.split}: {cold.valid_all:,} users are validated, "
            f"{cold.test_all:,} tested",
            "cold items": f"{cold.items:,} were never trained on; they are the target of "
            f"{cold.valid:,} in validation, {cold.test:,} in the test",
        }
    )
    features = {
        name: f"{entry.encoder.width} numbers an item, {entry.encoder.pooling} pooling, "
        f"{entry.dtype}, revision {entry.encoder.revision[:12]}"
        for name, entry in dataset.manifest.features.items()
    }
    attributes = dataset.attributes
    if attributes.height:
        counted = [
            [name[0], rows["value"].n_unique(), rows["item"].n_unique()]
            for name, rows in sorted(attributes.group_by("attribute"))
        ]
        print_table(
            ["attribute", "values", "items that have it"],
            counted,
            right=("values", "items that have it"),
        )
    none = "no text is encoded yet" if dataset.manifest.text else "items have ids only"
    print_fields(features or {"none": none}, title="text features")


def print_losses(dataset: Dataset) -> None:
    """What each step left out, as a share of all there was too, and what keeps it."""
    from miracle_core.data.losses import losses

    lost = losses(dataset)
    if not lost:
        return
    columns = ("users", "items", "interactions")
    whole = [
        sum(getattr(loss, name) for loss in lost) + dataset.manifest.counts[name]
        for name in columns
    ]
    rows = [
        [
            loss.step,
            *(_share(getattr(loss, name), all_) for name, all_ in zip(columns, whole, strict=True)),
            loss.keep or "-",
        ]
        for loss in lost
    ]
    print_table(["left out by", *columns, "to keep them"], rows, right=columns)


def _share(number: int, whole: int) -> str:
    return f"{number:,} ({number / whole:.1%})" if number else "0"


def print_lengths(dataset: Dataset) -> None:
    """Users by the length of their sequence, as bars."""
    from miracle_core.data.statistics import describe

    lengths = describe(dataset).lengths
    most = max((length.users for length in lengths), default=1)
    rows = [[_span(length), length.users, bar(length.users / most)] for length in lengths]
    print_table(["length", "users", ""], rows)


def print_popularity(dataset: Dataset) -> None:
    """How much of all interactions the most popular items have, as bars."""
    from miracle_core.data.statistics import describe

    rows = [
        [f"{items:.0%}", f"{share:.1%}", bar(share)]
        for items, share in describe(dataset).popularity
    ]
    print_table(["most popular items", "interactions", ""], rows, right=("interactions",))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Settings one a line: those inside others get these others' names before their own."""
    found: dict[str, object] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            found[prefix + name] = shown
    return found


def _span(length: LengthClass) -> str:
    if length.most is None:
        return f"{length.least} or more"
    return str(length.least) if length.most == length.least else f"{length.least}-{length.most}"
