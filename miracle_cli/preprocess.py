"""``miracle preprocess``: raw files to a Dataset folder, and its text features if asked for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli.output import message, print_json
from miracle_core.data.readers import FORMATS
from miracle_core.errors import InputError, command

if TYPE_CHECKING:
    from miracle_core.data.dataset import Dataset

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class OnError(StrEnum):
    """What happens at a row that can't be used."""

    stop = "stop"
    skip = "skip"


class Repeats(StrEnum):
    """Which of a user's repeated interactions with an item are kept."""

    keep = "keep"
    first = "first"
    last = "last"


class Duplicates(StrEnum):
    """What becomes of exact duplicates: interactions of equal user, item and time."""

    keep = "keep"
    drop = "drop"


class Splitting(StrEnum):
    """How the data is split."""

    leave_one_out = "leave-one-out"
    temporal = "temporal"


class Order(StrEnum):
    """Which column comes first in ratings without a header."""

    user_first = "user-first"
    item_first = "item-first"


@app.command()
def preprocess(
    source: Annotated[
        list[Path], typer.Argument(help="The raw files, packed or not, or their folder.")
    ],
    out: Annotated[Path, typer.Option(help="The Dataset folder to write.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(("auto", *sorted(FORMATS))),
            help="What the files are; auto looks into them.",
        ),
    ] = "auto",
    name: Annotated[
        str | None, typer.Option(help="What to call the Dataset [default: the source's own name].")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Also encode the items' text: minilm, hashing, or a model's name."),
    ] = None,
    on_error: Annotated[
        OnError,
        typer.Option(help="At a row that can't be used: stop, or skip it and count it."),
    ] = OnError.stop,
    items: Annotated[
        Path | None,
        typer.Option(help="A second file with the items: their ids, titles and texts."),
    ] = None,
    order: Annotated[
        Order | None,
        typer.Option(
            help="amazon2018: which column of ratings comes first, where it can't be seen.",
        ),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            help="What separates the fields, where it is not a comma (.csv) or a tab (.tsv): "
            '";", "|", tab, space. A file whose first line does not hold it is read as usual.',
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="paper",
            help="A named set of filters that rebuilds a published data set (online-retail, "
            "amazon2018). No other filter can be given with it.",
        ),
    ] = None,
    k_core: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Remove users and items with fewer interactions than this, until nothing "
            "changes; 0 keeps all. Default: 5, but 0 for a published split.",
        ),
    ] = None,
    user_core: Annotated[
        int | None,
        typer.Option(min=0, help="The least number for users, where it is not that of --k-core."),
    ] = None,
    item_core: Annotated[
        int | None,
        typer.Option(min=0, help="The least number for items, where it is not that of --k-core."),
    ] = None,
    min_rating: Annotated[
        float | None, typer.Option(help="Leave out what was rated lower than this.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Leave out what is older: a date (UTC) or a number as in the data."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Leave out what happened then or later.")
    ] = None,
    repeats: Annotated[
        Repeats,
        typer.Option(help="Of a user's repeated interactions with an item keep all or one."),
    ] = Repeats.keep,
    duplicates: Annotated[
        Duplicates,
        typer.Option(
            help="Keep or drop exact duplicates: interactions of equal user, item and time. "
            "Buying again later is no duplicate."
        ),
    ] = Duplicates.keep,
    keep_unsold: Annotated[
        bool,
        typer.Option(
            "--keep-unsold",
            help="Keep items without interactions in the catalogue, so that new products can be "
            "recommended [default: they are left out].",
        ),
    ] = False,
    min_length: Annotated[
        int | None, typer.Option(min=1, help="Leave out users with fewer items, before the k-core.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Keep only so many of a user's latest items.")
    ] = None,
    split: Annotated[
        Splitting,
        typer.Option(
            help="Each user's last two items held out, or everything after a moment (then the "
            "filters look at the training part only)."
        ),
    ] = Splitting.leave_one_out,
    valid_from: Annotated[
        str | None,
        typer.Option(help="temporal: when validation begins [default: after 80% of all]."),
    ] = None,
    test_from: Annotated[
        str | None,
        typer.Option(help="temporal: when the test begins [default: after 90% of all]."),
    ] = None,
    user_column: Annotated[
        str | None,
        typer.Option(
            help="table: the column of user ids [default: user_id]. online-retail: CustomerID or "
            "InvoiceNo [default: CustomerID]."
        ),
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
    rating_column: Annotated[
        str | None, typer.Option(help="table: the column of ratings, for --min-rating.")
    ] = None,
    title_column: Annotated[
        str | None, typer.Option(help="table: the column of item titles [default: title].")
    ] = None,
    text_column: Annotated[
        list[str] | None,
        typer.Option(help="table: more text of an item, after the title (may be repeated)."),
    ] = None,
    attribute_column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="table: what an item is besides its text, such as its brand (repeatable).",
        ),
    ] = None,
    no_text: Annotated[
        bool,
        typer.Option(
            "--no-text", help="table, atomic: items have ids only; for systems that need no text."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Turn raw files into a Dataset folder.

    Users and items with few interactions are removed, each user's interactions are put in order
    of time (equal times keep the order of the file), and the data is split into a part for
    training, one for validation and one for the test.
    """
    from miracle_cli.progress import RichProgress
    from miracle_core.data.prepare import PrepareSettings, check_out, check_settings, prepare
    from miracle_core.data.readers import ReadOptions, read
    from miracle_core.data.recipes import check_recipe
    from miracle_core.data.settings import check_alone
    from miracle_core.locks import one_writer

    given: dict[str, Any] = {
        "name": name,
        "user": user_column,
        "item": item_column,
        "time": time_column,
        "title": title_column,
        "text": tuple(text_column) if text_column else None,
        "attributes": tuple(attribute_column) if attribute_column else None,
        "no_text": no_text or None,
        "items": items,
        "rating": rating_column,
        "order": order.value if order else None,
        "separator": separator,
        "with_ratings": True if min_rating is not None else None,
        "keep_unsold": keep_unsold or None,
        "recipe": recipe,
        "on_error": on_error.value,
    }
    options = ReadOptions(**{key: value for key, value in given.items() if value is not None})
    settings = PrepareSettings(
        k_core=k_core,
        user_core=user_core,
        item_core=item_core,
        min_rating=min_rating,
        since=since,
        until=until,
        repeats=repeats.value,
        duplicates=duplicates.value,
        keep_unsold=keep_unsold,
        min_length=min_length,
        max_length=max_length,
        split=split.value,
        valid_from=valid_from,
        test_from=test_from,
    )
    if no_text and encoder is not None:
        raise InputError(
            "there is no text to encode",
            where="--no-text --encoder",
            remedy="leave one of them out",
        )
    if rating_column is not None and min_rating is None:
        raise InputError(
            "is of no use without --min-rating",
            where="--rating-column",
            remedy="say which rows to keep, as in --min-rating 1, or leave it out",
        )
    progress = RichProgress()
    with one_writer(out):  # from the first look to the last file
        # First whatever can fail at once: reading may take long.
        check_out(out)
        check_settings(settings)
        if recipe is not None:
            if form != "auto":
                check_recipe(recipe, form)
            check_alone(recipe, settings)
        if encoder is not None:
            from miracle_core.text import encode_dataset, load_encoder

            loaded = load_encoder(encoder, progress)
        interactions = read(form, source, options, progress)
        for note in interactions.notes:
            message(note)
        dataset = prepare(interactions, settings, out, progress)
        if encoder is not None:
            try:
                dataset = encode_dataset(out, loaded, progress)
            except BaseException:
                message(
                    f"the Dataset is in {out}, without these text features; "
                    "to go on: " + command("miracle", "encode", out, "--encoder", encoder)
                )
                raise
    _report(dataset, time_column, as_json)


def _report(dataset: Dataset, time_column: str | None, as_json: bool) -> None:
    from miracle_cli.data import print_counts, summary
    from miracle_core.data.recipes import RECIPES

    settings, counts = dataset.manifest.settings, dataset.manifest.counts
    if recipe := settings["read"].get("recipe"):
        message(f"recipe {recipe}: {RECIPES[settings['read']['format']][recipe]}")
    if settings["read"].get("format") == "table" and time_column is None:
        message("no --time-column: each user's interactions keep the order of the file")
    if settings["read"].get("form") == "benchmark" and not settings["k_core"]:
        message("a published split, kept as it is (to filter it again: --k-core 5)")
    for skip in counts.get("skipped", []):
        rows = "1 row" if skip["rows"] == 1 else f"{skip['rows']:,} rows"
        message(f"skipped {rows}: {skip['reason']} (first: {skip['first']})")
    if counts["repeats"]:
        how = "" if recipe else " (--repeats first drops them)"
        message(f"{counts['repeats']:,} repeated interactions are kept{how}")
    if counts["duplicates"]:
        how = "" if recipe else " (--duplicates drop drops only them)"
        message(
            f"{counts['duplicates']:,} of these are exact duplicates: equal user, item and "
            f"time{how}"
        )
    taken_before = counts["steps"][-1].get("taken_before", 0)
    if taken_before:
        message(
            f"{taken_before:,} items without sales were bought in the files: filters removed all "
            "their purchases, and --keep-unsold keeps them as unsold"
        )
    if as_json:
        print_json(summary(dataset))
        return
    print_counts(dataset)
    message(f"written to {dataset.folder}")
    if not dataset.manifest.text:
        after = command("miracle", "train", "--data", dataset.folder, "--model", "popularity")
        message(f"next: {after} --out RUN")
    elif not dataset.manifest.features:
        message("next: " + command("miracle", "encode", dataset.folder, "--encoder", "minilm"))
