"""Whole shops: generated, with what was planted in them, and as raw files on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.clean import join_texts
from miracle_core.data.synthetic.catalogue import compose_catalogue
from miracle_core.data.synthetic.histories import draw_histories
from miracle_core.data.synthetic.stream import FloatArray, IntArray, Stream
from miracle_core.data.synthetic.vocabulary import SHOPS, load_vocabulary
from miracle_core.errors import InputError
from miracle_core.files import replacing_folder, write_json
from miracle_core.paths import as_path

TEXT_COLUMNS = ("title", "categories", "brand")
"""What an item's text is made of, in this order."""

_HALVES = ("early", "late")


@dataclass(frozen=True)
class Truth:
    """What was planted in a shop. Row numbers are those of the shop's items and of ``user_ids``.

    Attributes:
        interests: the shop's interests by name.
        item_interest: int64 [items], index into ``interests``.
        item_role: int64 [items], index into ``ROLES``: device, supply or accessory.
        item_line: int64 [items], the product line within its interest, 0 to 3. A purchase that
            follows from the last one of its interest stays in that one's line.
        user_ids: every user, before any filtering.
        user_mix: float64 [users, 2, interests], planted shares of the interests in the first and
            in the second half of a user's history, without noise; sums to 1 over interests. A
            user's interests are those with a share.
    """

    interests: tuple[str, ...]
    item_interest: IntArray
    item_role: IntArray
    item_line: IntArray
    user_ids: tuple[str, ...]
    user_mix: FloatArray


@dataclass(frozen=True)
class Shop:
    """A generated shop.

    Attributes:
        name: one of ``SHOPS``.
        seed: what it was generated from.
        items: item_id, title, categories, brand, all String; one row an item.
        events: user_id String, item_id String, time Int64 (seconds since 1970), one row an
            interaction, in time order over all users.
        truth: what was planted.
    """

    name: str
    seed: int
    items: pl.DataFrame
    events: pl.DataFrame
    truth: Truth

    @cached_property
    def interactions(self) -> Interactions:
        """The same interactions as from reading the files of :func:`write_shop_files`."""
        text = join_texts([self.items[column] for column in TEXT_COLUMNS], "text")
        return Interactions.checked(
            self.events, self.items.select("item_id", "title").with_columns(text), name=self.name
        )

    def truth_document(self) -> dict[str, Any]:
        """The planted truth by id, as ``truth.json`` holds it.

        Returns:
            ``shop``, ``seed``, ``interests`` (names), ``items`` (item_id to interest), ``users``
            (user_id to ``early`` and ``late``, each interest to its share, four decimals).
        """
        truth = self.truth
        names = truth.interests
        users = {
            user: {
                half: {names[i]: round(float(mix[h, i]), 4) for i in np.flatnonzero(mix[h])}
                for h, half in enumerate(_HALVES)
            }
            for user, mix in zip(truth.user_ids, truth.user_mix, strict=True)
        }
        items = zip(self.items["item_id"].to_list(), truth.item_interest.tolist(), strict=True)
        return {
            "shop": self.name,
            "seed": self.seed,
            "interests": list(names),
            "items": {item: names[interest] for item, interest in items},
            "users": users,
        }


def generate_shops(
    seed: int = 0,
    *,
    shops: Sequence[str] = SHOPS,
    n_items: int = 1200,
    n_users: int = 3000,
) -> list[Shop]:
    """Generate shops with planted interests.

    A shop depends on its name, the seed and the sizes only, not on which others are asked for, and
    comes out the same on every machine.

    Args:
        seed: at least 0; another seed gives other items, users and histories.
        shops: which, by name.
        n_items: items a shop.
        n_users: users a shop, each with 5 to 40 interactions (10 on average).

    Raises:
        InputError: an unknown shop, a negative seed, no users, fewer items than interests, or more
            items than a shop's words can name.
    """
    if seed < 0:
        raise InputError(f"{seed} is negative", where="seed", remedy="give a seed of at least 0")
    if n_users < 1:
        raise InputError(
            f"{n_users} users make no shop", where="n_users", remedy="ask for at least 1 user"
        )
    return [_generate_shop(name, seed, n_items, n_users) for name in shops]


def _generate_shop(name: str, seed: int, n_items: int, n_users: int) -> Shop:
    words = load_vocabulary(name)
    catalogue = compose_catalogue(words, n_items, Stream(seed, name, "items"))
    interests = tuple(interest.name for interest in words.interest)
    histories = draw_histories(catalogue, n_users, len(interests), Stream(seed, name, "users"))
    user_ids = [f"{name[:3]}-u{number:05d}" for number in range(n_users)]
    events = pl.DataFrame(
        {
            "user_id": pl.Series(user_ids, dtype=pl.String).gather(histories.user),
            "item_id": catalogue.table["item_id"].gather(histories.item),
            "time": histories.time,
        }
    )
    truth = Truth(
        interests=interests,
        item_interest=catalogue.interest,
        item_role=catalogue.role,
        item_line=catalogue.line,
        user_ids=tuple(user_ids),
        user_mix=histories.mix,
    )
    return Shop(name=name, seed=seed, items=catalogue.table, events=events, truth=truth)


def write_shop_files(shop: Shop, folder: str | Path) -> Path:
    """Write a shop as raw files, whole or not at all, for ``miracle preprocess --format atomic``.

    ``NAME.inter`` and ``NAME.item`` are plain atomic files (tab-separated, typed header); beside
    them lies ``truth.json``, which no reader looks at.

    Args:
        shop: what to write.
        folder: where to; an existing folder is replaced.

    Returns:
        ``folder``.
    """
    inter = shop.events.rename(
        {"user_id": "user_id:token", "item_id": "item_id:token", "time": "timestamp:float"}
    )
    items = shop.items.rename(
        {"item_id": "item_id:token", **{column: f"{column}:token_seq" for column in TEXT_COLUMNS}}
    )
    folder = as_path(folder)
    with replacing_folder(folder) as beside:
        for table, suffix in ((inter, "inter"), (items, "item")):
            table.write_csv(beside / f"{shop.name}.{suffix}", separator="\t", quote_style="never")
        write_json(beside / "truth.json", shop.truth_document())
    return folder
