"""What a person may say about how raw files are to be read."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class ReadOptions(BaseModel):
    """Options of the readers. The column names speak of ``table`` sources only.

    Attributes:
        name: what the data set is called; None takes the source's own name.
        user: the column of user ids.
        item: the column of item ids, in the events and in the item file.
        time: the column that orders a user's events: any number, or a date and time in ISO 8601;
            None keeps the order of the file.
        title: the column of item titles; None takes ``title`` where there is one, and else the
            first sentence of the text.
        text: more columns whose text describes an item, in this order after the title.
        items: a second file with the item columns; None takes them from the events' own file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    user: str = "user_id"
    item: str = "item_id"
    time: str | None = None
    title: str | None = None
    text: tuple[str, ...] = ()
    items: Path | None = None
