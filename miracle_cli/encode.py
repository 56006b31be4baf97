"""``miracle encode``: text features for a Dataset."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from miracle_cli.output import message, print_fields, print_json
from miracle_core.errors import command

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def encode(
    data: Annotated[Path, typer.Argument(help="A Dataset folder.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="minilm, hashing, hashing:WIDTH, a model's folder or its Hugging Face id; "
            ":cls or :mean after a model sets the pooling."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Turn every item's text into a vector and add the vectors to the Dataset.

    An interrupted encoding continues where it stopped. Vectors are cached in
    MIRACLE_CACHE (default: ~/.cache/miracle).
    """
    from miracle_cli.progress import RichProgress
    from miracle_core.text import encode_dataset, feature_name

    began = perf_counter()
    dataset = encode_dataset(data, encoder, RichProgress())
    made = dataset.feature_set(feature_name(encoder))
    result = {
        "dataset": dataset.name,
        "items": dataset.n_items,
        "file": made.file,
        "dtype": made.dtype,
        "seconds": round(perf_counter() - began, 3),
    }
    identity = made.encoder.model_dump(mode="json")
    if as_json:
        print_json({**result, "encoder": identity})
        return
    print_fields({**result, **{f"encoder {key}": value for key, value in identity.items()}})
    message("next: " + command("miracle", "finetune", "--data", data, "--out", "RUN"))
