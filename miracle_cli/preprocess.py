"""``miracle preprocess``: raw files to a Dataset folder, and its text features if asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli.output import message, print_json

if TYPE_CHECKING:
    from miracle_core.data.dataset import Dataset

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def preprocess(
    source: Annotated[list[Path], typer.Argument(help="The raw files, or their folder.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="atomic|table",
            help="What the files are: RecBole/UniSRec atomic files, or any table "
            "(CSV, TSV, Parquet) with a row an interaction.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The Dataset folder to write.")],
    name: Annotated[
        str | None, typer.Option(help="What to call the Dataset; default: as the source does.")
    ] = None,
    k_core: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Remove users and items with fewer interactions than this, until nothing "
            "changes; 0 keeps all. Default: 5, but 0 for a published split.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Also encode the items' text: minilm, hashing, or a model's name."),
    ] = None,
    user_column: Annotated[
        str | None, typer.Option(help="table: the column of user ids [default: user_id].")
    ] = None,
    item_column: Annotated[
        str | None, typer.Option(help="table: the column of item ids [default: item_id].")
    ] = None,
    time_column: Annotated[
        str | None,
        typer.Option(
            help="table: the column that orders a user's interactions, a number or a date "
            "[default: none, the order of the file]."
        ),
    ] = None,
    title_column: Annotated[
        str | None, typer.Option(help="table: the column of item titles [default: title].")
    ] = None,
    text_column: Annotated[
        list[str] | None,
        typer.Option(help="table: more text of an item, after the title (may be repeated)."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="table: a second file with a row an item: its id, title and texts."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Turn raw files into a Dataset folder.

    Users and items with few interactions are removed, each user's interactions are put in order
    of time (equal times keep the order of the file; repeats are kept), and the last two are set
    aside for validation and test.
    """
    from miracle_cli.progress import RichProgress
    from miracle_core.data.prepare import PrepareSettings, check_out, prepare
    from miracle_core.data.readers import ReadOptions, read

    given: dict[str, Any] = {
        "name": name,
        "user": user_column,
        "item": item_column,
        "time": time_column,
        "title": title_column,
        "text": tuple(text_column) if text_column else None,
        "items": items,
    }
    options = ReadOptions(**{key: value for key, value in given.items() if value is not None})
    progress = RichProgress()
    # First whatever can fail at once: reading may take long.
    check_out(out)
    if encoder is not None:
        from miracle_core.text import encode_dataset, load_encoder

        load_encoder(encoder, progress)
    interactions = read(form, source, options, progress)
    dataset = prepare(interactions, PrepareSettings(k_core=k_core), out, progress)
    if encoder is not None:
        try:
            dataset = encode_dataset(out, encoder, progress)
        except BaseException:
            message(
                f"the Dataset is in {out}, without these text features; "
                f"to go on: miracle encode {out} --encoder {encoder}"
            )
            raise
    _report(dataset, form, time_column, as_json)


def _report(dataset: Dataset, form: str, time_column: str | None, as_json: bool) -> None:
    from miracle_cli.data import print_counts, summary

    if form == "table" and time_column is None:
        message("no --time-column: each user's interactions keep the order of the file")
    settings = dataset.manifest.settings
    if settings["read"].get("form") == "benchmark" and not settings["k_core"]:
        message("a published split, kept as it is (to filter it again: --k-core 5)")
    if dataset.manifest.counts["repeats"]:
        message(f"{dataset.manifest.counts['repeats']:,} repeated interactions are kept")
    if as_json:
        print_json(summary(dataset))
        return
    print_counts(dataset)
    message(f"written to {dataset.folder}")
    if not dataset.manifest.features:
        message(f"next: miracle encode {dataset.folder} --encoder minilm")
