"""A Dataset from a table in memory, as pandas tables, and as HTML for a notebook.

pandas is imported only when a table is asked for.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from miracle_core.data.dataset import SPLITS, Dataset
from miracle_core.data.prepare import prepare
from miracle_core.data.readers.frame import read_frame
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.settings import PrepareSettings
from miracle_core.errors import InputError
from miracle_core.progress import SILENT, Progress

if TYPE_CHECKING:
    import pandas as pd


def dataset_from_frame(
    frame: Any,
    out: str | Path,
    *,
    user: str,
    item: str,
    time: str | None,
    title: str | None,
    text: str | Sequence[str],
    attributes: str | Sequence[str],
    rating: str | None,
    items: Any,
    no_text: bool,
    name: str | None,
    on_error: Literal["stop", "skip"],
    settings: PrepareSettings | None,
    progress: Progress = SILENT,
) -> Dataset:
    """See :meth:`miracle_core.data.dataset.Dataset.from_frame`."""
    settings = settings or PrepareSettings()
    if on_error not in ("stop", "skip"):
        raise InputError(
            f"{on_error!r} is not known", where="on_error", remedy="say 'stop' or 'skip'"
        )
    named = {"user": user, "item": item, "time": time, "title": title, "rating": rating}
    lists = {"text": text, "attributes": attributes}
    for option, value in named.items():
        if not isinstance(value, str | None) or value == "":
            raise InputError(f"{value!r} is not a column's name", where=option)
    several = {}
    for option, given in lists.items():
        several[option] = (given,) if isinstance(given, str) else tuple(given)
        for value in several[option]:
            if not isinstance(value, str) or not value:
                raise InputError(f"{value!r} is not a column's name", where=option)
    options = ReadOptions(
        name=name,
        user=user,
        item=item,
        time=time,
        title=title,
        rating=rating,
        text=several["text"],
        attributes=several["attributes"],
        no_text=no_text,
        with_ratings=rating is not None,
        keep_unsold=settings.keep_unsold,
        on_error=on_error,
    )
    return prepare(read_frame(frame, options, items), settings, out, progress)


def interactions_frame(dataset: Dataset) -> pd.DataFrame:
    """See :meth:`miracle_core.data.dataset.Dataset.to_frame`."""
    import pandas as pd

    users = np.repeat(np.arange(dataset.n_users), np.diff(dataset.offsets))
    places = np.arange(dataset.n_interactions)
    cuts = dataset.cuts[users]
    part = (places[:, None] >= cuts).sum(axis=1)
    columns: dict[str, Any] = {
        "user_id": dataset.users["user_id"].to_numpy()[users],
        "item_id": dataset.items["item_id"].to_numpy()[np.asarray(dataset.sequences)],
    }
    if dataset.manifest.split == "temporal":
        columns["time"] = np.array(dataset.times())
    columns["split"] = np.array(SPLITS, dtype=object)[part]
    return pd.DataFrame(columns)


def dataset_html(dataset: Dataset) -> str:
    """A Dataset for a notebook: its figures and its first items; text from data is escaped."""
    attributes = sorted(set(dataset.attributes["attribute"]))
    rows = {
        "folder": str(dataset.folder),
        "users": f"{dataset.n_users:,}",
        "items": f"{dataset.n_items:,}",
        "interactions": f"{dataset.n_interactions:,}",
        "split": dataset.manifest.split,
        "text vectors": ", ".join(dataset.manifest.features) or "none",
        "attributes": ", ".join(attributes) or "none",
        "first items": "; ".join(title[:60] for title in dataset.items["title"].head(3)),
    }
    cells = "".join(
        f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in rows.items()
    )
    return f"<table><caption>Dataset {html.escape(dataset.name)}</caption>{cells}</table>"
