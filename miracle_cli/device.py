"""``--device`` of the commands that answer: where the model runs."""

from __future__ import annotations

from typing import Annotated

import typer

Device = Annotated[
    str,
    typer.Option(
        metavar="cpu|cuda|cuda:N|mps|auto",
        help="Where the model runs; auto takes a GPU of NVIDIA's if there is one.",
    ),
]
